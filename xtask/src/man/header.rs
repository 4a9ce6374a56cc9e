//! What the C header says. It is made by cbindgen, so its form is known: comments of `//` lines
//! before each item, declarations that begin at a line's beginning and end with `;`.

use anyhow::{Context, Result};

/// A header, item by item.
pub(super) struct Header {
    /// What holds for all functions: the comment at the file's beginning.
    pub(super) conventions: String,
    /// In the order of the file.
    pub(super) items: Vec<Item>,
}

/// A documented item.
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Its comment, without the marks.
    pub(super) doc: String,
    /// As the header has it; for a macro without its body.
    pub(super) declaration: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Constant,
    Function,
    Macro,
    Type,
}

impl Header {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().peekable();
        let mut conventions = None;
        let mut items = Vec::new();
        let mut doc = Vec::new();
        let mut shared = Vec::new();
        while let Some(line) = lines.next() {
            if let Some(comment) = line.strip_prefix("//") {
                doc.push(comment.strip_prefix(' ').unwrap_or(comment));
                continue;
            }
            if line == "/*" {
                let block = lines.by_ref().take_while(|line| *line != " */");
                doc = block
                    .map(|line| line.strip_prefix(" * ").unwrap_or_default())
                    .collect();
                if conventions.is_none() {
                    doc.retain(|line| !line.starts_with("SPDX"));
                    conventions = Some(std::mem::take(&mut doc).join("\n"));
                }
                continue;
            }
            let mut doc = std::mem::take(&mut doc);
            // Macros that stand together share their comment.
            if doc.is_empty() && line.starts_with("#define") {
                doc.clone_from(&shared);
            }
            shared.clear();
            if doc.is_empty() {
                continue;
            }
            if line.starts_with("#define") && !line.ends_with('\\') {
                shared.clone_from(&doc);
            }
            let mut declaration = line.to_owned();
            if !line.starts_with("#define") {
                let end = if line.ends_with('{') { "}" } else { "" };
                while !(declaration.ends_with(';')
                    && declaration
                        .lines()
                        .last()
                        .is_some_and(|line| line.starts_with(end)))
                {
                    let next = lines.next().context("a declaration without an end")?;
                    declaration = declaration + "\n" + next;
                }
            }
            items.extend(Item::of(doc.join("\n"), declaration));
        }
        Ok(Self {
            conventions: conventions.context("no comment at the beginning")?,
            items,
        })
    }

    /// The types that an item's declaration names, and those that they name.
    pub(super) fn types_of(&self, item: &Item) -> Vec<&Item> {
        let mut found: Vec<&Item> = Vec::new();
        let mut texts = vec![&item.declaration];
        while let Some(text) = texts.pop() {
            for item in self.items.iter().filter(|item| item.kind == Kind::Type) {
                let is_new = !found.iter().any(|other| other.name == item.name);
                if is_new && words(text).any(|word| word == item.name) {
                    found.push(item);
                    texts.push(&item.declaration);
                }
            }
        }
        found
    }

    /// What is said of an item and its types.
    fn texts_of<'a>(&'a self, item: &'a Item) -> Vec<&'a str> {
        [item]
            .into_iter()
            .chain(self.types_of(item))
            .flat_map(|item| [item.doc.as_str(), &item.declaration])
            .collect()
    }

    /// The constants that an item, or one of its types, speaks of, other than results. A name that
    /// ends with an underscore and dots stands for all that begin so.
    pub(super) fn constants_of(&self, item: &Item) -> Vec<&Item> {
        let texts = self.texts_of(item);
        let is_meant = |name: &str, text: &str| {
            words(text).any(|word| word == name || (word.ends_with('_') && name.starts_with(word)))
        };
        let constants = self.items.iter().filter(|item| {
            item.kind == Kind::Constant
                && !item.is_result()
                && texts.iter().any(|text| is_meant(&item.name, text))
        });
        constants.collect()
    }

    /// The functions that an item, or one of its types, speaks of.
    pub(super) fn mentioned_by(&self, item: &Item) -> Vec<&str> {
        let texts = self.texts_of(item);
        let others = self.items.iter().filter(|other| {
            matches!(other.kind, Kind::Function | Kind::Macro)
                && other.name != item.name
                && texts
                    .iter()
                    .any(|text| words(text).any(|word| word == other.name))
        });
        others.map(|other| other.name.as_str()).collect()
    }
}

impl Item {
    /// `None` for what needs no page and is in no list.
    fn of(doc: String, declaration: String) -> Option<Self> {
        let (kind, name, declaration) = if let Some(rest) = declaration.strip_prefix("#define ") {
            let name = words(rest).next()?.to_owned();
            if name.ends_with('_') {
                // What others are made of.
                return None;
            }
            match rest[name.len()..].split_once(')') {
                Some((arguments, _)) if arguments.starts_with('(') => {
                    let declaration = format!("#define {name}{arguments})");
                    (Kind::Macro, name, declaration)
                }
                _ => (Kind::Constant, name, declaration),
            }
        } else if declaration.starts_with("typedef") {
            let name = if declaration.contains("(*") {
                words(declaration.split_once("(*")?.1).next()?
            } else {
                words(declaration.lines().last()?).last()?
            };
            (Kind::Type, name.to_owned(), declaration)
        } else {
            let name = words(declaration.split_once('(')?.0).last()?;
            (Kind::Function, name.to_owned(), declaration)
        };
        Some(Self {
            kind,
            name,
            doc,
            declaration,
        })
    }

    /// What it is, in a few words: the beginning of the comment's first sentence.
    pub(super) fn summary(&self) -> String {
        let first: String = self
            .doc
            .lines()
            .take_while(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let end = first
            .char_indices()
            .find(|&(at, c)| {
                ".;:".contains(c)
                    && first[at + 1..]
                        .chars()
                        .next()
                        .is_none_or(char::is_whitespace)
            })
            .map_or(first.len(), |(at, _)| at);
        let mut letters = first[..end].chars();
        let begin = letters.next().map(|c| c.to_ascii_lowercase());
        begin.into_iter().chain(letters).collect()
    }

    /// The declaration under its comment.
    pub(super) fn with_doc(&self) -> String {
        let doc = self.doc.lines().map(|line| format!("// {line}\n"));
        doc.collect::<String>() + &self.declaration
    }

    /// Whether it is a result code.
    pub(super) fn is_result(&self) -> bool {
        self.name == "ISAHP_OK" || self.name.starts_with("ISAHP_ERROR_")
    }

    /// Whether it returns a result code, and not a number that its comment begins with or speaks of.
    pub(super) fn returns_result(&self) -> bool {
        self.kind == Kind::Function
            && self.declaration.starts_with("int32_t ")
            && !self.doc.starts_with(|c: char| c.is_ascii_digit())
            && !self.doc.contains("Returns ")
    }
}

/// The identifiers of a text.
fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}
