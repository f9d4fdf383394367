//! What the demonstration is about: a small Python package with some history, and four stories for it.

use syndarix_forge::{GitError, Identity, InitialCommit, RepoPath};

/// The project's name.
pub const PROJECT: &str = "textstats";
/// How its tests are run.
pub const TEST_COMMAND: &str = "python3 -m unittest discover -s tests -v";
/// The sprint that the stories are planned in.
pub const SPRINT: (&str, &str) = ("Sprint 1", "Editors get the numbers that they ask for most");

/// A story of the demonstration.
#[derive(Debug, Clone, Copy)]
pub struct DemoStory {
    /// One line; the scenario knows it by this.
    pub title: &'static str,
    /// In the client's words.
    pub description: &'static str,
    /// Estimated effort.
    pub points: u16,
}

/// Each changes files of its own, so that several can be under way at once.
pub const STORIES: [DemoStory; 4] = [
    DemoStory {
        title: "Average word length",
        description: "As an editor I want to know how long the words of a text are on average, so that I can tell how \
                      hard it is to read. Rounded to two digits; a text without words has the average 0.",
        points: 2,
    },
    DemoStory {
        title: "Abbreviations end no sentence",
        description: "As an editor I want `e.g.` and `Dr.` not to be counted as the end of a sentence, because the \
                      number of sentences is too high today.",
        points: 3,
    },
    DemoStory {
        title: "Report on a file from the command line",
        description: "As a writer I want to run `python3 -m textstats FILE` and see the report of a file, so that I \
                      need not write Python for it.",
        points: 3,
    },
    DemoStory {
        title: "Reading time",
        description: "As a blogger I want to know how many minutes it takes to read a text, so that I can print it \
                      above the text. Take 238 words a minute unless told otherwise.",
        points: 2,
    },
];

/// What is started when all of them are done.
pub const ONE_MORE: DemoStory = DemoStory {
    title: "Write down what was learned",
    description: "As a maintainer I want a note about the last change, so that the next person finds it.",
    points: 1,
};

const README: &str = include_str!("repository/README.md");
const IGNORE: &str = include_str!("repository/gitignore");
const INIT: &str = include_str!("repository/init.py");
const WORDS: &str = include_str!("repository/words.py");
const SENTENCES: &str = include_str!("repository/sentences.py");
const REPORT: &str = include_str!("repository/report.py");
const TEST_WORDS: &str = include_str!("repository/test_words.py");
const TEST_SENTENCES: &str = include_str!("repository/test_sentences.py");
const TEST_REPORT: &str = include_str!("repository/test_report.py");

/// 2026-09-01T09:00:00Z: a fixed time, so that every demonstration has the same commits.
const FIRST_COMMIT_AT: i64 = 1_788_253_200;
const DAY: i64 = 86_400;

/// A message, and the files that are added or replaced.
type Step = (&'static str, &'static [(&'static str, &'static str)]);

/// The history, oldest first.
pub fn commits() -> Result<Vec<InitialCommit>, GitError> {
    let steps: [Step; 5] = [
        (
            "Say what this is going to be\n\nStatistics about English text, without dependencies.",
            &[("README.md", README), (".gitignore", IGNORE)],
        ),
        (
            "Count words\n\nApostrophes and hyphens within a word belong to it.",
            &[
                ("textstats/words.py", WORDS),
                ("tests/test_words.py", TEST_WORDS),
                (
                    "textstats/__init__.py",
                    "\"\"\"Small, dependency-free statistics about English text.\"\"\"\n",
                ),
            ],
        ),
        (
            "Count sentences\n\nSeveral marks in a row end one sentence only.",
            &[("textstats/sentences.py", SENTENCES), ("tests/test_sentences.py", TEST_SENTENCES)],
        ),
        (
            "Report on a text\n\nEverything that can be said about it, a line each.",
            &[("textstats/report.py", REPORT), ("tests/test_report.py", TEST_REPORT)],
        ),
        ("Offer everything from the package itself", &[("textstats/__init__.py", INIT)]),
    ];
    let author = Identity::new("Robin Maintainer", "robin@textstats.example")?;
    let commit = |(day, (message, files)): (i64, Step)| {
        let files = files.iter().map(|(path, text)| Ok((RepoPath::new(*path)?, text.as_bytes().to_vec())));
        Ok(InitialCommit {
            message: message.to_owned(),
            author: author.clone(),
            at: FIRST_COMMIT_AT + day * DAY,
            files: files.collect::<Result<_, GitError>>()?,
        })
    };
    (0..).zip(steps).map(commit).collect()
}
