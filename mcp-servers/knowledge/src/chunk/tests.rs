use proptest::prelude::*;

use super::*;

fn crumbs(path: &str, text: &str) -> Vec<String> {
    chunk(path, text)
        .into_iter()
        .map(|c| format!("{}-{} {}", c.start_line, c.end_line, c.breadcrumb))
        .collect()
}

fn filler(indent: &str, lines: usize) -> String {
    format!("{indent}call_something_with_a_long_name(1, 2, 3);\n").repeat(lines)
}

#[test]
fn rust_is_cut_at_functions_and_a_large_impl_at_its_methods() {
    let text = format!(
        "//! Module.\nuse a::b;\n\n/// Opens.\n#[inline]\npub fn open() {{}}\n\nimpl<T> Display for Store<T> {{\n    \
         const A: u8 = 1;\n\n    /// One.\n    fn one() {{\n{0}    }}\n\n    fn two() {{\n{0}    }}\n}}\n\nstruct Tail;\n",
        filler("        ", 20)
    );
    assert_eq!(
        crumbs("src/a.rs", &text),
        [
            "1-3 src/a.rs",
            "4-7 src/a.rs > open",
            "8-10 src/a.rs > impl Display for Store<T>",
            "11-34 src/a.rs > impl Display for Store<T> > one",
            "35-56 src/a.rs > impl Display for Store<T> > two",
            "57-58 src/a.rs > impl Display for Store<T>",
            "59-59 src/a.rs > Tail",
        ]
    );
}

#[test]
fn a_comment_behind_code_stays_with_that_code() {
    let text = "use a; // why\nfn f() {}\n// about g\nfn g() {}\n";
    assert_eq!(crumbs("a.rs", text), ["1-1 a.rs", "2-2 a.rs > f", "3-4 a.rs > g"]);
}

#[test]
fn python_keeps_decorators_and_small_classes_whole() {
    let body = "        x = some_function_call(1)\n".repeat(30);
    let text = format!(
        "import os\n\n@cache\ndef f():\n    pass\n\nclass Small:\n    def a(self): pass\n\nclass Big(Base):\n    \
         \"\"\"Doc.\"\"\"\n\n    # About one.\n    @property\n    def one(self):\n{body}\n    async def two(self):\n{body}"
    );
    assert_eq!(
        crumbs("a.py", &text),
        [
            "1-2 a.py",
            "3-6 a.py > f",
            "7-9 a.py > Small",
            "10-12 a.py > Big",
            "13-46 a.py > Big > one",
            "47-77 a.py > Big > two",
        ]
    );
}

#[test]
fn typescript_and_javascript_find_exports_arrows_and_classes() {
    let body = "    this.doSomethingLong(1, 2, 3);\n".repeat(25);
    let text = format!(
        "import x from 'y';\n\nexport const add = (a: number) => a + 1;\n\nexport default function main() {{\n}}\n\n\
         export class Store {{\n  private n = 1;\n  // Opens.\n  open() {{\n{body}  }}\n  close = () => {{\n{body}  }};\n}}\n\n\
         interface Props {{ a: string }}\n"
    );
    let expected = [
        "1-2 P",
        "3-4 P > add",
        "5-7 P > main",
        "8-9 P > Store",
        "10-37 P > Store > open",
        "38-64 P > Store > close",
        "65-66 P > Store",
        "67-67 P > Props",
    ];
    for path in ["a.ts", "b.tsx"] {
        assert_eq!(
            crumbs(path, &text),
            expected.map(|line| line.replace('P', path).replace(&format!("{path}rops"), "Props"))
        );
    }
    let script = "const f = function () {\n  return 1;\n};\nmodule.exports = { f };\n";
    assert_eq!(crumbs("c.js", script), ["1-3 c.js > f", "4-4 c.js"]);
}

#[test]
fn markdown_is_cut_at_headings_but_not_inside_code() {
    let text = "---\nfront: matter\n---\n# Guide\n\n## Setup\nDo this.\n```sh\n# not a heading\n```\n### Linux ##\nApt.\n## Use\nSo.\n";
    assert_eq!(
        crumbs("docs/g.md", text),
        [
            "1-3 docs/g.md",
            "4-10 docs/g.md > Guide > Setup",
            "11-12 docs/g.md > Guide > Setup > Linux",
            "13-14 docs/g.md > Guide > Use",
        ]
    );
}

#[test]
fn a_long_function_is_cut_at_blank_lines_under_its_own_name() {
    let block = format!("{}\n", filler("    ", 40));
    let chunks = chunk("a.rs", &format!("fn long() {{\n{}}}\n", block.repeat(5)));
    assert!(chunks.len() > 2);
    assert!(chunks.iter().all(|c| c.breadcrumb == "a.rs > long"));
    assert!(chunks[..chunks.len() - 1].iter().all(|c| c.text.ends_with("\n\n")));
}

#[test]
fn kinds_and_languages_follow_the_name() {
    for (path, kind, language) in [
        ("a/b.rs", ChunkKind::Code, "rust"),
        ("B.PY", ChunkKind::Code, "python"),
        ("x.go", ChunkKind::Code, "go"),
        ("Makefile", ChunkKind::Code, "text"),
        (".gitignore", ChunkKind::Code, "text"),
        ("README", ChunkKind::Doc, "text"),
        ("notes.txt", ChunkKind::Doc, "text"),
        ("d.md", ChunkKind::Doc, "markdown"),
    ] {
        let first = &chunk(path, "some text\n")[0];
        assert_eq!((first.kind, first.language), (kind, language), "{path}");
    }
}

#[test]
fn empty_and_binary_files_have_no_chunks_and_huge_ones_are_bounded() {
    assert!(chunk("a.rs", "").is_empty());
    assert!(chunk_bytes("a.png", b"\x89PNG\0\0").is_empty());
    let one_line = "x".repeat(3_000_000);
    let chunks = chunk("min.js", &one_line);
    assert_eq!((chunks.len(), chunks[0].text.len()), (1, MAX_CHUNK_BYTES));
    let nested = format!("{}{}", "mod a {".repeat(20_000), "}".repeat(20_000));
    covers("deep.rs", &nested);
    covers("deep.ts", &"[".repeat(100_000));
}

#[test]
fn the_same_text_has_the_same_hash_wherever_it_is() {
    let (a, b) = (chunk("a.txt", "same\n"), chunk("b/c.txt", "same\n"));
    assert_eq!(a[0].hash, b[0].hash);
    assert_ne!(a[0].hash, chunk("a.txt", "other\n")[0].hash);
}

/// Every line exactly once, in order, within the limits.
fn covers(path: &str, text: &str) {
    let chunks = chunk(path, text);
    let mut next = 1;
    let mut rebuilt = String::new();
    for chunk in &chunks {
        assert_eq!(chunk.start_line, next, "{path}");
        assert!(chunk.end_line >= chunk.start_line && chunk.end_line - chunk.start_line < MAX_CHUNK_LINES);
        assert!(chunk.text.len() <= MAX_CHUNK_BYTES && !chunk.text.contains('\0'));
        assert!(chunk.breadcrumb.starts_with(path) && chunk.hash.len() == 64);
        next = chunk.end_line + 1;
        rebuilt.push_str(&chunk.text);
    }
    assert_eq!(next - 1, text.split_inclusive('\n').count(), "{path}");
    if text.lines().all(|line| line.len() < MAX_CHUNK_BYTES) {
        assert_eq!(rebuilt, text.replace('\0', "\u{fffd}"), "{path}");
    }
    assert_eq!(chunks, chunk(path, text), "the same text gives the same chunks");
}

const PATHS: [&str; 9] = ["a.rs", "a.py", "a.ts", "a.tsx", "a.js", "a.md", "a.toml", "README", "é/.x"];

/// Text that looks like code, so that the parsers find something to cut.
fn code() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("fn a() {\n"),
        Just("}\n"),
        Just("} "),
        Just("impl X for Y {"),
        Just("mod m {\n"),
        Just("// c\n"),
        Just("#[test]\n"),
        Just("class A:\n"),
        Just("    def f(self):\n"),
        Just("        pass\n"),
        Just("@d\n"),
        Just("export class B {\n"),
        Just("m() {\n"),
        Just("const f = () => {\n"),
        Just("};\n"),
        Just("\n"),
        Just("# Head\n"),
        Just("## Sub\n"),
        Just("```\n"),
        Just("\t"),
        Just("\r\n"),
        Just("\0"),
        Just("é"),
        Just("\"unclosed\n"),
        Just("/* open\n"),
        Just("    call_something_quite_long(with, several, arguments);\n"),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_line_of_any_code_is_in_exactly_one_chunk(text in code(), path in prop::sample::select(&PATHS[..])) {
        covers(path, &text);
    }

    #[test]
    fn every_line_of_any_text_is_in_exactly_one_chunk(text in "(?s).{0,400}", path in prop::sample::select(&PATHS[..])) {
        covers(path, &text);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), path in any::<String>()) {
        chunk_bytes(&path, &bytes);
        for path in PATHS {
            chunk_bytes(path, &bytes);
        }
    }
}
