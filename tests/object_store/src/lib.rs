//! Nothing: the suite is a test.
