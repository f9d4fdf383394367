import unittest

from textstats import report


class Report(unittest.TestCase):
    def test_it_says_everything_a_line_each(self):
        self.assertEqual(
            report("One fish, two fish."),
            "words: 4\nsentences: 1\nlongest word: fish",
        )

    def test_an_empty_text_is_reported_too(self):
        self.assertEqual(report(""), "words: 0\nsentences: 0\nlongest word: -")


if __name__ == "__main__":
    unittest.main()
