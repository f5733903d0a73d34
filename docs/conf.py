"""How Sphinx makes a site of the pages and the docstrings: run `make docs`, then open build/site/index.html."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.inspect import TypeAliasForwardRef

import rbhq_stream
import rbhq_stream.testing

project = "rbhq_stream"
release = version = importlib.metadata.version("rbhq-stream")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
smartquotes_action = "D"  # dashes only: quotes are mostly code
html_theme = "furo"
html_title = f"rbhq_stream {release}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

# pages: headings have the anchors that GitHub gives them
myst_heading_anchors = 4

# docstrings: what is in single backticks is code, and a link where it names something of ours
default_role = "py:obj"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # or the environment of whoever builds the site would be in a signature
autodoc_typehints_format = "short"
autodoc_type_aliases = {alias: f"rbhq_stream.{alias}" for alias in ("Event", "OnBadRecord", "Positions", "Verdict")}
TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # type: ignore[method-assign]  # as it is written in a union
python_use_unqualified_type_names = True
maximum_signature_line_length = 88


class Docstring(GoogleDocstring):
    """A docstring in Google style. The text of its `Returns:` doesn't begin with a type, even if it has a colon."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:  # noqa: ARG002  # as in the base class
        return [("", "", self._dedent(self._consume_to_next_section()))]


def read_google_style(_app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Rewrites a docstring for Sphinx.

    It is not left to the extension sphinx.ext.napoleon, which takes the docstring of an attribute to begin with a type
    too, as far as the first colon.
    """
    lines[:] = Docstring(list(lines), Config(napoleon_use_ivar=True)).lines()


def tidy_signature(
    _app: Sphinx, _what: str, _name: str, value: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Writes the default values of attrs classes. A protocol has no signature."""
    if getattr(value, "_is_protocol", False):
        return "", None

    def default(match: re.Match[str]) -> str:
        field = getattr(attrs.fields(value), match[1], None)  # an event's record is not among its fields
        return repr(None if field is None else field.default)

    if signature is not None:
        signature = re.sub(r"attr_dict\['(\w+)'\]\.default", default, signature).replace("= NOTHING", "= ...")
    return signature, returns


def link_to_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Links a type that is named with its private module to where it is exported from."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    for package in (rbhq_stream, rbhq_stream.testing):
        if (not module or module.startswith("rbhq_stream.")) and name in package.__all__:
            target = f"{package.__name__}.{name}"
            python = env.domains.python_domain
            found: Any = python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)
            return found
    return None


def setup(app: Sphinx) -> None:
    """Registers the functions above."""
    app.connect("autodoc-process-docstring", read_google_style)
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("missing-reference", link_to_public_name)
