import pytest

from headstart_server.report.markup import Markup, named, tag, trusted


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "<b>&", tag("i", "x")) == "<p>&lt;b&gt;&amp;<i>x</i></p>"


def test_a_value_of_an_attribute_cannot_end_it():
    assert tag("a", title='" onclick="x') == '<a title="&quot; onclick=&quot;x"></a>'


def test_attributes_are_named_flags_or_left_out():
    made = tag("input", class_="a", aria_label="b", hidden=True, disabled=False, title=None, name="n")

    assert made == '<input class="a" aria-label="b" hidden name="n"></input>'


def test_several_children_are_one_by_one_and_none_is_nothing():
    assert (
        tag("ul", [tag("li", n) for n in range(2)], None, (x for x in "ab"))
        == "<ul><li>0</li><li>1</li>ab</ul>"
    )


def test_empty_elements_have_no_end():
    assert tag("br") == "<br>"
    assert tag("img", src="x") == '<img src="x">'


@pytest.mark.parametrize("text", ["\x00", "\x1b[31m", "\ud800", "\ufffe", "\x9f"])
def test_what_no_document_may_hold_is_replaced(text):
    assert tag("p", text).startswith("<p>\ufffd")
    tag("p", text).encode()


def test_joining_markup_with_text_gives_text_again():
    joined = tag("b", "x") + "<i>"

    assert not isinstance(joined, Markup)
    assert tag("p", joined) == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_a_name_stands_apart_from_the_text_around_it():
    assert named("\u202e<x>") == "<bdi>\u202e&lt;x&gt;</bdi>"


def test_our_own_style_is_taken_as_it_is():
    assert tag("style", trusted("a > b {}")) == "<style>a > b {}</style>"
