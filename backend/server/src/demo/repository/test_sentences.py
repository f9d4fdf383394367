import unittest

from textstats import count_sentences


class Sentences(unittest.TestCase):
    def test_every_mark_ends_a_sentence(self):
        self.assertEqual(count_sentences("Really? Yes! It is."), 3)

    def test_several_marks_end_one_sentence(self):
        self.assertEqual(count_sentences("What?! No..."), 2)

    def test_a_point_within_a_number_ends_nothing(self):
        self.assertEqual(count_sentences("It costs 3.50 today."), 1)


if __name__ == "__main__":
    unittest.main()
