//! Any text is a recipe or a list of errors, each on one line that the text has.
#![no_main]

use frazil_model::recipe::{canonical, check_names, expansion, match_name, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(recipes) => {
            for recipe in &recipes {
                let _ = canonical(recipe);
                let _ = check_names(recipe, &["time".to_owned(), "/a/b".to_owned()], &["time".to_owned()]);
                for source in &recipe.sources {
                    if let Ok(names) = expansion(source) {
                        names.take(100).for_each(drop);
                    }
                    let _ = match_name(source, "sst_20010203.nc");
                }
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(!error.to_string().contains('\n'));
                let _ = error.render(text);
            }
        }
    }
});
