//! Virtual datasets: references to the chunks of files, in place of copies.
//!
//! What can be referenced is found out from metadata alone; what cannot be is made and written beside the references,
//! or set apart, or refused, as the recipe says. It promises that whoever follows the references and decodes what they
//! lead to gets the values that a copy would hold, and that the old dataset is seen or the new one.

mod address;
mod again;
mod beside;
mod checks;
mod icechunk;
mod intact;
mod kerchunk;
mod lay;
mod make;
mod native;
mod pinned;
mod record;
mod said;
mod spelling;
mod split;
mod tables;
mod there;
mod verify;

pub(crate) use icechunk::{BRANCH, SETTINGS as REPOSITORY_SETTINGS};
pub(crate) use make::parts;
pub use make::{VirtualRequest, make_virtual};
pub(crate) use said::{Amounts, made_arrays};
pub use verify::{VirtualDataset, virtual_dataset};
