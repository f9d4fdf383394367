//! Cuts code at its definitions.
//!
//! A definition is a function, class, method, type or the like, with the comments and attributes right above
//! it. A small class stays whole; a larger one is cut into its head and its methods. What lies between
//! definitions is kept together under the name of what encloses it.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use tree_sitter::{Node, ParseOptions, Parser};

use super::{MAX_CHUNK_LINES, MAX_DEPTH, Segment, language::Tree, window::Lines};

/// A class or module up to this size is one chunk, in bytes: its methods explain one another.
const SMALL_CONTAINER_BYTES: usize = 1_200;
/// Longest time for parsing one file; real files take milliseconds, hostile ones are cut by lines.
const PARSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The segments of a file, or none when it cannot be parsed in time.
pub(super) fn segments(tree: Tree, text: &str, lines: &Lines<'_>) -> Option<Vec<Segment>> {
    let mut parser = Parser::new();
    parser.set_language(&tree.parser_language()).ok()?;
    let deadline = Instant::now() + PARSE_TIMEOUT;
    let mut progress =
        |_: &_| if Instant::now() < deadline { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let bytes = text.as_bytes();
    let mut input = |at: usize, _| bytes.get(at..).unwrap_or_default();
    let parsed = parser.parse_with_options(&mut input, None, Some(options))?;
    let mut cutter = Cutter { text, lines, segments: Vec::new(), at: 0 };
    cutter.cut(parsed.root_node(), lines.count(), &[], 0);
    Some(cutter.segments)
}

/// Something with a name that is worth finding.
struct Definition<'t> {
    /// First line, with comments and attributes.
    start: usize,
    /// Line after the last.
    end: usize,
    name: String,
    /// Where its own definitions are, if it has any.
    body: Option<Node<'t>>,
}

struct Cutter<'a> {
    text: &'a str,
    lines: &'a Lines<'a>,
    segments: Vec<Segment>,
    /// First line that is in no segment yet. Only grows, which is why no line is in two.
    at: usize,
}

impl Cutter<'_> {
    /// Cuts the lines from `self.at` up to `end`, which belong to `parent`.
    fn cut(&mut self, parent: Node<'_>, end: usize, crumbs: &[String], depth: usize) {
        for definition in self.definitions(parent) {
            let start = definition.start.max(self.at);
            let stop = definition.end.min(end);
            // It shares its only line with the one before.
            if start >= stop {
                continue;
            }
            self.gap(start, crumbs);
            let crumbs = [crumbs, std::slice::from_ref(&definition.name)].concat();
            let small =
                self.lines.bytes(start, stop) <= SMALL_CONTAINER_BYTES && stop - start <= MAX_CHUNK_LINES;
            match definition.body {
                Some(body) if !small && depth < MAX_DEPTH => self.cut(body, stop, &crumbs, depth + 1),
                _ => self.push(stop, &crumbs),
            }
        }
        self.gap(end, crumbs);
    }

    /// What lies before the next definition. Blank lines alone are no chunk: they go with their neighbour.
    fn gap(&mut self, end: usize, crumbs: &[String]) {
        if self.at >= end {
            return;
        }
        let blank = self.lines.are_blank(self.at, end);
        match self.segments.last_mut() {
            Some(last) if blank => {
                last.end = end;
                self.at = end;
            }
            // At the top of the file: the first definition takes them.
            None if blank && end < self.lines.count() => {}
            _ => self.push(end, crumbs),
        }
    }

    fn push(&mut self, end: usize, crumbs: &[String]) {
        if self.at < end {
            self.segments.push(Segment { start: self.at, end, crumbs: crumbs.to_vec() });
            self.at = end;
        }
    }

    fn definitions<'t>(&self, parent: Node<'t>) -> Vec<Definition<'t>> {
        let mut found = Vec::new();
        // Where the comments and attributes begin that belong to the next node.
        let mut lead: Option<(usize, usize)> = None;
        let mut last_code = None;
        let mut cursor = parent.walk();
        for child in parent.children(&mut cursor) {
            let (first, last) = (child.start_position().row, last_row(child));
            if is_lead(child.kind()) {
                // One that stands behind code on its line belongs to that code.
                if last_code == Some(first) {
                    continue;
                }
                let begin = lead.filter(|(_, end)| first <= end + 1).map_or(first, |(begin, _)| begin);
                lead = Some((begin, last));
                continue;
            }
            last_code = Some(last);
            let begin = lead.take().filter(|(_, end)| first <= end + 1).map_or(first, |(begin, _)| begin);
            if let Some((name, body)) = self.name_and_body(child) {
                found.push(Definition { start: begin, end: last + 1, name, body });
            }
        }
        found
    }

    /// The name of a definition and the node that holds its own definitions.
    fn name_and_body<'t>(&self, node: Node<'t>) -> Option<(String, Option<Node<'t>>)> {
        let field = |name: &str| node.child_by_field_name(name);
        let named = |node: Option<Node<'_>>| node.map(|node| self.source(node));
        match node.kind() {
            "function_item"
            | "struct_item"
            | "enum_item"
            | "union_item"
            | "macro_definition"
            | "function_definition"
            | "function_declaration"
            | "generator_function_declaration"
            | "method_definition"
            | "interface_declaration"
            | "enum_declaration"
            | "type_alias_declaration" => Some((named(field("name"))?, None)),
            "trait_item"
            | "mod_item"
            | "class_definition"
            | "class_declaration"
            | "abstract_class_declaration"
            | "internal_module"
            | "module" => Some((named(field("name"))?, field("body"))),
            "impl_item" => {
                let subject = named(field("type"))?;
                let name = match named(field("trait")) {
                    Some(implemented) => format!("impl {implemented} for {subject}"),
                    None => format!("impl {subject}"),
                };
                Some((name, field("body")))
            }
            // Wrappers: the definition inside gives the name, the outer node the lines.
            "decorated_definition" => self.name_and_body(field("definition")?),
            "export_statement" => self.name_and_body(field("declaration")?),
            "expression_statement" | "lexical_declaration" | "variable_declaration" => {
                self.name_and_body(node.named_child(0)?)
            }
            "variable_declarator" | "public_field_definition" => {
                let value = field("value")?;
                let is_function = matches!(value.kind(), "arrow_function" | "function_expression" | "class");
                is_function.then_some(())?;
                Some((
                    named(field("name"))?,
                    value.child_by_field_name("body").filter(|_| value.kind() == "class"),
                ))
            }
            _ => None,
        }
    }

    /// A node's source on one line.
    fn source(&self, node: Node<'_>) -> String {
        let text = self.text.get(node.byte_range()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Comments, attributes and decorators belong to what follows them.
fn is_lead(kind: &str) -> bool {
    matches!(kind, "line_comment" | "block_comment" | "comment" | "attribute_item" | "decorator")
}

/// The row a node ends in; one that ends right after a line break ends in the row before.
fn last_row(node: Node<'_>) -> usize {
    let end = node.end_position();
    if end.column == 0 && end.row > node.start_position().row { end.row - 1 } else { end.row }
}
