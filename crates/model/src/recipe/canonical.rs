//! What a recipe means, as one text: the input of the recipe's hash in the receipt.
//!
//! Comments, places, the order of mappings without an order, defaults written or not, how gently to fetch, the pruned
//! run and the place of publication make no difference.

use serde::Serialize;

use crate::recipe::Recipe;

/// The version of this text. A change of it changes every hash, so it changes only when meanings do.
const VERSION: u32 = 1;

/// The canonical JSON text of `recipe`.
#[must_use]
#[allow(clippy::expect_used)]
pub fn canonical(recipe: &Recipe) -> String {
    #[derive(Serialize)]
    struct Versioned<'r> {
        recipe: u32,
        means: &'r Recipe,
    }
    serde_json::to_string(&Versioned { recipe: VERSION, means: recipe })
        .expect("a recipe holds only texts, numbers and lists, which JSON can say")
}
