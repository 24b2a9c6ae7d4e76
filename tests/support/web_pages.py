"""Web pages as tests read them: parsed, and checked for accessibility in a browser."""

from html.parser import HTMLParser

from axe_playwright_python.sync_playwright import Axe

# WCAG 2.1 AA, and what axe-core holds for good practice.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


class ParsedPage(HTMLParser):
    """What a browser sees: elements with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.shown = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.shown += text

    def all(self, tag):
        """Attributes of every element with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]


def assert_accessible_and_no_wider_than_the_screen(page):
    results = Axe().run(page, options=RULES)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
