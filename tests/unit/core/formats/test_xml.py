from __future__ import annotations

import pytest

from headgated.core.formats.node import UnclearError
from headgated.core.formats.xml import read_xml


def test_elements_attributes_and_texts() -> None:
    text = """<?xml version="1.0"?>
    <!-- comment -->
    <Server port="8005">
      <Listener class="a"/><Listener class="b"/>
      <name> canal </name>
      <note lang="en">read me</note>
      <empty/>
    </Server>"""
    assert read_xml(text) == [
        {
            "Server": {
                "@port": "8005",
                "Listener": [{"@class": "a"}, {"@class": "b"}],
                "name": "canal",
                "note": {"@lang": "en", "#text": "read me"},
                "empty": "",
            }
        }
    ]


def test_order_of_attributes_and_white_space_do_not_count() -> None:
    assert read_xml('<a x="1" y="2"><b>1</b></a>') == read_xml('<a y="2"\n x="1">\n  <b> 1\n</b></a>')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        "<a>" * 200 + "</a>" * 200,
        "<a>" + "<b/>" * 100_001 + "</a>",
    ],
)
def test_what_is_not_plain_is_not_read(text: str) -> None:
    with pytest.raises(UnclearError):
        read_xml(text)
