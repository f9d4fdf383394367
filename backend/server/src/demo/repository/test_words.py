import unittest

from textstats import count_words, longest_word, words


class Words(unittest.TestCase):
    def test_an_apostrophe_belongs_to_its_word(self):
        self.assertEqual(words("It's well-known."), ["It's", "well-known"])

    def test_no_text_has_no_words(self):
        self.assertEqual(count_words(""), 0)
        self.assertEqual(longest_word(""), "")

    def test_the_first_of_the_longest_words_wins(self):
        self.assertEqual(longest_word("one three seven"), "three")


if __name__ == "__main__":
    unittest.main()
