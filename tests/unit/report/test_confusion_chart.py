from headstart_server.report.confusion_chart import Confusion, confusion_chart


def test_few_classes_are_all_shown():
    confusion = Confusion.from_cells(["a", "b"], [(0, 0, 5), (1, 0, 2)])

    assert confusion.counts == {(0, 0): 5, (1, 0): 2}
    assert confusion.total(1) == 2
    assert not confusion.others


def test_of_many_classes_those_with_the_most_mistakes_are_shown_and_no_example_is_lost():
    names = [f"c{n}" for n in range(1000)]
    cells = [(n, n, 10) for n in range(1000)] + [(n, n + 1, 3) for n in range(500, 520)]

    confusion = Confusion.from_cells(names, cells)

    assert len(confusion.names) == 21
    assert confusion.names[-1] == "980 others"
    assert "c510" in confusion.names
    assert sum(confusion.counts.values()) == sum(count for _, _, count in cells)


def test_a_cell_says_what_it_counts_and_long_names_are_shortened():
    long = "x" * 60
    chart = confusion_chart(Confusion.from_cells([long, "b"], [(0, 1, 1), (0, 0, 3)]))

    assert f"<title>{long} predicted as b: 1 of 4 (25.0%)</title>" in chart
    assert f">{'x' * 17}…</text>" in chart


def test_large_counts_fit_their_cells():
    chart = confusion_chart(Confusion.from_cells(["a", "b"], [(0, 0, 1469), (1, 1, 123_456)]))

    assert ">1.5k</text>" in chart
    assert ">123k</text>" in chart
    assert "1469 of 1469" in chart
