//! What language a file is in, by its name.

use super::ChunkKind;

/// How a file is cut.
#[derive(Debug, Clone)]
pub(super) enum Grammar {
    /// By windows of lines.
    None,
    /// By headings.
    Markdown,
    /// By its syntax tree.
    Tree(Tree),
}

/// A language with a parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    Rust,
    Python,
    TypeScript,
    /// TypeScript with elements, which reads all JavaScript, too.
    Tsx,
}

impl Tree {
    pub(super) fn parser_language(self) -> tree_sitter::Language {
        match self {
            Self::Rust => tree_sitter_rust::LANGUAGE.into(),
            Self::Python => tree_sitter_python::LANGUAGE.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
        }
    }
}

/// A file's language.
#[derive(Debug, Clone)]
pub(super) struct Language {
    pub(super) name: &'static str,
    pub(super) kind: ChunkKind,
    pub(super) grammar: Grammar,
}

impl Language {
    pub(super) fn of(path: &str) -> Self {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path).to_ascii_lowercase();
        let extension = file.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or("", |(_, e)| e);
        let tree = |name, tree| Self { name, kind: ChunkKind::Code, grammar: Grammar::Tree(tree) };
        let code = |name| Self { name, kind: ChunkKind::Code, grammar: Grammar::None };
        let doc = |name, grammar| Self { name, kind: ChunkKind::Doc, grammar };
        match extension {
            "rs" => tree("rust", Tree::Rust),
            "py" | "pyi" => tree("python", Tree::Python),
            "ts" | "mts" | "cts" => tree("typescript", Tree::TypeScript),
            "tsx" => tree("typescript", Tree::Tsx),
            "js" | "jsx" | "mjs" | "cjs" => tree("javascript", Tree::Tsx),
            "md" | "markdown" | "mdx" => doc("markdown", Grammar::Markdown),
            "txt" | "rst" | "adoc" | "tex" => doc("text", Grammar::None),
            "" if is_prose(&file) => doc("text", Grammar::None),
            other => code(by_extension(other)),
        }
    }
}

/// Files without an extension that people read.
fn is_prose(file: &str) -> bool {
    let stems =
        ["readme", "license", "copying", "authors", "contributing", "changelog", "changes", "notice", "todo"];
    stems.iter().any(|stem| file.starts_with(stem))
}

fn by_extension(extension: &str) -> &'static str {
    match extension {
        "c" | "h" => "c",
        "cc" | "cpp" | "cxx" | "hh" | "hpp" => "cpp",
        "cs" => "csharp",
        "css" | "scss" | "less" => "css",
        "go" => "go",
        "html" | "htm" => "html",
        "java" => "java",
        "json" | "jsonc" => "json",
        "kt" | "kts" => "kotlin",
        "php" => "php",
        "rb" => "ruby",
        "sh" | "bash" | "zsh" => "shell",
        "sql" => "sql",
        "swift" => "swift",
        "toml" => "toml",
        "vue" => "vue",
        "xml" => "xml",
        "yaml" | "yml" => "yaml",
        _ => "text",
    }
}
