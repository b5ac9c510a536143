# What people type in this house. Each recipe is one line of something that works without `just`, too.

# Format, lints, tests, docs, walls and judges, in the order CI runs them.
check:
    ./tests/run

# Only the judges: stock xarray on what the release binary writes. Arguments go to pytest.
test *arguments:
    ./tests/run --only build && ./tests/run --only judges {{arguments}}

# The full campaigns: every kill, every crash point, the big memory run, ten minutes of fuzzing per target.
soak:
    ./tests/run --soak

# The score over the corpus of real files.
score *arguments:
    cargo build --release --bin frazil
    python3 tests/judge/corpus_score.py {{arguments}}

# Speed, memory and scan, side by side with what people use today.
bench *arguments:
    cargo build --release --bin frazil
    ./bench/run {{arguments}}
