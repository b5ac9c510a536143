//! YAML text to a tree in which every key and value knows its line and column.
//!
//! Text from strangers: size, depth, nodes and the text that aliases multiply have limits, and a key given twice is
//! an error. It knows nothing of recipes.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::recipe::{
    error::{Fault, MAX_ERRORS, RecipeError},
    read::shortened,
    span::{Position, Spanned},
};

/// The largest recipe file, in bytes; the largest known one has 20,000. The scanner's queue takes up to 150 times as
/// much memory as a text made for that, so this bound also is the one on memory.
pub const MAX_TEXT_BYTES: usize = 512 << 10;
/// The longest single value, in bytes.
const MAX_SCALAR_BYTES: usize = 64 << 10;
/// How deep lists and mappings may lie in each other.
const MAX_DEPTH: usize = 32;
/// How many values, those that aliases repeat included.
const MAX_NODES: usize = 100_000;
/// How much text, that which aliases repeat included, in bytes.
const MAX_EXPANDED_BYTES: usize = 4 << 20;
/// How many recipes a file may hold.
const MAX_DOCUMENTS: usize = 1000;

/// A value of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub at: Position,
    pub content: Content,
    /// Values in this one, itself included, and the bytes of their text: what an alias to it costs.
    cost: Cost,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
}

/// A list or mapping that is still open.
enum Open {
    List { at: Position, anchor: usize, items: Vec<Node>, cost: Cost },
    Map { at: Position, anchor: usize, entries: Vec<(Spanned<String>, Node)>, key: Option<Spanned<String>>, cost: Cost },
}

/// The documents of `text`, or why there are none. A key given twice is noted, and its first value stands.
pub(crate) fn documents(text: &str, errors: &mut Vec<RecipeError>) -> Vec<Node> {
    let mut tree = Tree { document: 1, ..Tree::default() };
    if text.len() > MAX_TEXT_BYTES {
        errors.push(tree.error(Position::default(), too_large("the recipe in bytes", MAX_TEXT_BYTES)));
        return Vec::new();
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(step) = parser.next_event() {
        let outcome = match step {
            Ok((event, span)) => tree.take(event, place(span.start)),
            Err(scan) => {
                let at = within(text, place(*scan.marker()));
                Err(tree.error(at, Fault::Yaml { reason: scan.info().to_owned() }))
            }
        };
        if let Err(error) = outcome {
            tree.errors.push(error);
            break;
        }
    }
    errors.append(&mut tree.errors);
    tree.documents
}

#[derive(Default)]
struct Tree {
    document: usize,
    open: Vec<Open>,
    documents: Vec<Node>,
    anchors: BTreeMap<usize, Node>,
    spent: Cost,
    errors: Vec<RecipeError>,
}

impl Tree {
    fn error(&self, at: Position, fault: Fault) -> RecipeError {
        RecipeError { document: self.document, at, fault }
    }

    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), RecipeError> {
        if let Event::Scalar(.., Some(tag)) | Event::SequenceStart(_, Some(tag)) | Event::MappingStart(_, Some(tag)) =
            &event
        {
            // A tag asks for another reading of the value; to pass over it would be a guess.
            let reason = format!("the tag `{}` has no meaning in a recipe", shortened(&tag.suffix));
            return Err(self.error(at, Fault::Yaml { reason }));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if text.len() > MAX_SCALAR_BYTES {
                    return Err(self.error(at, too_large("a value in bytes", MAX_SCALAR_BYTES)));
                }
                let cost = Cost { nodes: 1, bytes: text.len() };
                self.spend(cost, at)?;
                let quoted = style != ScalarStyle::Plain;
                self.put(Node { at, content: Content::Scalar { text: text.into_owned(), quoted }, cost }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                self.deepen(at)?;
                self.open.push(Open::List { at, anchor, items: Vec::new(), cost: Cost { nodes: 1, bytes: 0 } });
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.deepen(at)?;
                let cost = Cost { nodes: 1, bytes: 0 };
                self.open.push(Open::Map { at, anchor, entries: Vec::new(), key: None, cost });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { at, anchor, items, cost }) => {
                    self.put(Node { at, content: Content::List(items), cost }, anchor)
                }
                Some(Open::Map { at, anchor, mut entries, cost, .. }) => {
                    self.refuse_duplicates(&mut entries);
                    self.put(Node { at, content: Content::Map(entries), cost }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(cost) = self.anchors.get(&anchor).map(|node| node.cost) else {
                    return Err(self.error(at, Fault::Yaml { reason: "an alias stands inside what it repeats".into() }));
                };
                // Paid before it is copied: that is what makes a bomb of aliases harmless.
                self.spend(cost, at)?;
                match self.anchors.get(&anchor).cloned() {
                    Some(node) => self.put(node, 0),
                    None => Ok(()),
                }
            }
            Event::DocumentEnd => {
                self.document += 1;
                self.anchors.clear();
                if self.document > MAX_DOCUMENTS {
                    return Err(self.error(at, too_large("the number of recipes in a file", MAX_DOCUMENTS)));
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    /// Notes each key that was given before, and takes it out.
    fn refuse_duplicates(&mut self, entries: &mut Vec<(Spanned<String>, Node)>) {
        let mut first_lines: BTreeMap<String, u32> = BTreeMap::new();
        entries.retain(|(key, _)| match first_lines.get(&key.value) {
            None => {
                first_lines.insert(key.value.clone(), key.at.line);
                true
            }
            Some(first_line) => {
                if self.errors.len() < MAX_ERRORS {
                    let fault = Fault::DuplicateKey { key: key.value.clone(), first_line: *first_line };
                    self.errors.push(RecipeError { document: self.document, at: key.at, fault });
                }
                false
            }
        });
    }

    fn deepen(&mut self, at: Position) -> Result<(), RecipeError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(at, too_large("the depth of nesting", MAX_DEPTH)));
        }
        self.spend(Cost { nodes: 1, bytes: 0 }, at)
    }

    fn spend(&mut self, cost: Cost, at: Position) -> Result<(), RecipeError> {
        self.spent.nodes = self.spent.nodes.saturating_add(cost.nodes);
        self.spent.bytes = self.spent.bytes.saturating_add(cost.bytes);
        if self.spent.nodes > MAX_NODES {
            return Err(self.error(at, too_large("the number of values, aliases included,", MAX_NODES)));
        }
        if self.spent.bytes > MAX_EXPANDED_BYTES {
            return Err(self.error(at, too_large("the text in bytes, aliases included,", MAX_EXPANDED_BYTES)));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), RecipeError> {
        if anchor != 0 {
            // The copy is kept for aliases, and counts like one.
            self.spend(node.cost, node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        let document = self.document;
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, cost, .. }) => {
                cost.add(node.cost);
                items.push(node);
            }
            Some(Open::Map { entries, key, cost, .. }) => {
                cost.add(node.cost);
                match key.take() {
                    None => match node.content {
                        Content::Scalar { text, .. } => *key = Some(Spanned::new(text, node.at)),
                        Content::List(_) | Content::Map(_) => {
                            let reason = "a key must be a plain word".to_owned();
                            return Err(RecipeError { document, at: node.at, fault: Fault::Yaml { reason } });
                        }
                    },
                    Some(name) => entries.push((name, node)),
                }
            }
        }
        Ok(())
    }
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The place, or the end of the text if it lies behind it: an author looks at lines that are there.
fn within(text: &str, at: Position) -> Position {
    let n_lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
    if at.line <= n_lines {
        return at;
    }
    let last = text.lines().next_back().map_or(0, |line| line.chars().count());
    Position { line: n_lines.max(1), column: u32::try_from(last).unwrap_or(u32::MAX).saturating_add(1) }
}

fn too_large(what: &str, limit: usize) -> Fault {
    Fault::TooLarge { what: what.to_owned(), limit: limit as u64 }
}

fn place(marker: Marker) -> Position {
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Position { line: narrow(marker.line()), column: narrow(marker.col()).saturating_add(1) }
}
