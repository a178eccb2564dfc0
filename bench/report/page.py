# SPDX-License-Identifier: MIT
#
# Writes results as one HTML page that needs nothing beside it: first what they mean for the machine, a sentence for each
# question; then each question's words, plots and tables; the machine; what squall's developers expect, where that was asked
# for; and the command that makes it again. What is plotted is said by sections/NAME.py, question by question.
import base64
import html
import importlib.util

import others
from drawing import svg
from plot import Section

STYLE = """
:root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d8dee4; --good: #00664a; --bad: #a33a00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 3rem;
  background: #fff; color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.2rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.3rem; padding-top: 0.9rem; border-top: 1px solid var(--line); }
p { margin: 0.3rem 0 0.8rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
.soft { font-size: 0.92rem; }
ul.verdicts { list-style: none; margin: 1rem 0; padding: 0; max-width: 60rem; }
ul.verdicts li { padding: 0.45rem 0; border-bottom: 1px solid var(--line); }
.good { color: var(--good); } .bad { color: var(--bad); }
a { color: #0b57a4; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22.5rem), 1fr)); gap: 1.8rem 1.6rem;
  margin: 0.9rem 0 1.6rem; align-items: start; }
figure { margin: 0; }
h3 { font-size: 1.1rem; margin: 1.6rem 0 0; }
figure h4 { font-size: 0.95rem; margin: 0 0 0.4rem; }
figure img { display: block; width: 100%; max-width: 27rem; height: auto; }
figcaption { font-size: 0.88rem; line-height: 1.4; margin-top: 0.3rem; max-width: 27rem; }
pre { overflow-x: auto; font: 0.8rem/1.4 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; background: #f6f8fa;
  padding: 0.8rem 1rem; border-radius: 6px; margin: 0.5rem 0; }
summary { cursor: pointer; margin: 0.6rem 0; overflow-wrap: anywhere; }
summary, code { font: 0.85rem/1.4 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.28rem 1rem 0.28rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
ul.plain { padding-left: 1.1rem; margin: 0.3rem 0 0.8rem; max-width: 60rem; }
@media (max-width: 40rem) { th { white-space: normal; min-width: 6.5rem; } pre { font-size: 0.72rem; } }
@media print { details > * { display: block; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def text(value):
    return html.escape(str(value))


def figure_html(plot):
    data = base64.b64encode(svg(plot).encode()).decode()
    names = ", ".join(series.name for series in plot.series)
    alt = f"{plot.title}: {plot.y} {'by ' + plot.x if plot.x else ''} of {names}. {plot.caption}"
    return (
        f'<figure><h4>{text(plot.title)}</h4><img alt="{text(alt)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{text(plot.caption)}</figcaption></figure>"
    )


def words_html(words):
    """An indented line belongs to the paragraph before it."""
    items = []
    for line in [*words, ""]:
        if line.startswith(" "):
            items.append(f"<li>{text(' '.join(line.split()))}</li>")
            continue
        if items:
            yield f'<ul class="plain">{"".join(items)}</ul>'
            items = []
        if line:
            yield f"<p>{text(line)}</p>"


def section_html(section, anchor):
    yield f'<h2 id="{anchor}">{text(section.title)}</h2><p>{text(section.lead)}</p>'
    first = section.documents[0]
    yield from words_html(first["words"])
    for heading, plots in section.groups:
        if heading:
            yield f"<h3>{text(heading)}</h3>"
        yield '<div class="plots">'
        yield from map(figure_html, plots)
        yield "</div>"
    for document in section.documents:
        is_open = " open" if document is first else ""
        yield f"<details{is_open}><summary>{text(document['command'])}</summary>"
        notes = [f"Warning: {line}" for line in document["warnings"]]
        if document["taken"] and not others.is_much(document["taken"]):
            notes.insert(0, others.words(document["taken"]))
        if notes:
            yield f'<ul class="plain">{"".join(f"<li>{text(note)}</li>" for note in notes)}</ul>'
        yield f"<pre>{text(chr(10).join(document['table']))}</pre></details>"


def machine_html(documents):
    facts = {}
    for document in documents:
        facts |= document["machine"]
    yield '<h2 id="machine">The machine</h2><table>'
    for name, value in facts.items():
        if isinstance(value, dict):
            value = "; ".join(f"{part}: {what}" for part, what in value.items())
        yield f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>"
    yield "</table>"


def first_answers(results):
    """Of each question its first answer, which stands for it."""
    first = {}
    for document in results["answers"]:
        first.setdefault(document["question"], document)
    return first


def judged(results):
    """The expectations of all questions; none unless they were asked for."""
    return [entry for document in first_answers(results).values() for entry in document["expectations"]]


def expectations_html(results, sections):
    expectations = judged(results)
    if not expectations:
        return
    met = sum(entry["met"] for entry in expectations)
    yield '<h2 id="expected">For those who test squall</h2>'
    yield f"<p>Of what squall's developers expect of it, {met} of {len(expectations)} figures are met on this machine.</p>"
    yield "<table><tr><th>question</th><th>expected</th><th>found</th><th></th></tr>"
    for question, document in first_answers(results).items():
        for entry in document["expectations"]:
            verdict = '<span class="good">met</span>' if entry["met"] else '<span class="bad">missed</span>'
            title = f'<a href="#{question}">{text(sections[question].title)}</a>'
            yield f"<tr><td>{title}</td><td>{text(entry['rule'])}</td><td>{text(entry['found'])}</td><td>{verdict}</td></tr>"
    yield "</table>"


def section_of(question, documents):
    name = f"sections.{question.replace('-', '_')}"
    if importlib.util.find_spec(name):
        return importlib.import_module(name).section(documents)
    return Section(question, "Tables alone.", documents, [])


def page(results):
    """The page of what bench/run --report gathered: {command, date, answers, failures}."""
    by_question = {}
    for document in results["answers"]:
        by_question.setdefault(document["question"], []).append(document)
    sections = {question: section_of(question, documents) for question, documents in by_question.items()}
    machine = results["answers"][0]["machine"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>squall: what was measured</title>',
        f"<style>{STYLE}</style></head><body>",
        "<h1>squall: what was measured</h1>",
        f'<p class="soft">{text(machine["kernel"])}, {text(machine["CPUs"])} CPUs ({text(machine["CPU"])}),'
        f' {text(results["date"].replace("T", " ").replace("+00:00", " UTC"))}</p>',
        '<p>What squall is worth and what it costs on <a href="#machine">this machine</a>, a sentence for each question; more'
        " of each is below. In the plots a point or bar is the median over processes, and its error bar goes from the lowest"
        " process to the highest.</p>",
        '<ul class="verdicts">',
    ]
    for question, section in sections.items():
        document = section.documents[0]
        parts.append(f'<li><a href="#{question}">{text(section.title)}</a>: {text(document["verdict"])}</li>')
    for failure in results["failures"]:
        parts.append(f'<li><b class="bad">Not measured:</b> {text(failure)}</li>')
    parts.append("</ul>")
    for question, section in sections.items():
        parts.extend(section_html(section, question))
    parts.extend(machine_html(results["answers"]))
    parts.extend(expectations_html(results, sections))
    parts.append(
        '<h2 id="again">Once more</h2><p>This page was made by the command below, and everything that was measured is in'
        ' <a href="results.json">results.json</a> beside it: <code>bench/run --report DIR --from results.json</code> draws'
        f" the page from it again.</p><pre>{text(results['command'])}</pre></body></html>\n"
    )
    return "\n".join(parts)
