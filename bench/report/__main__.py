#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# Makes of what several processes of one benchmark wrote: tables of medians, a verdict in one sentence, and JSON of one
# shape for all questions. What a question's figures mean is in the module of its name. bench/run runs this.
#
#   python3 bench/report answer [--warnings FILE] [--json FILE] ... QUESTION RESULT...
#   python3 bench/report compare A.json B.json [--fail-if-slower PERCENT]
#   python3 bench/report page [--command TEXT] [--failure TEXT] DIRECTORY JSON...
import argparse
import importlib
import json
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path

from compare import compare
from machine import facts
from sample import Failure


def check_results(results, warnings):
    if not results:
        raise Failure("there is no result to report")
    for result in results:
        for run in result.get("benchmarks", []):
            # What a machine cannot do is for the question's module to tell.
            if run.get("error_occurred") and not run["error_message"].startswith("skipped: "):
                raise Failure(f"{run['name']}: {run['error_message']}")
    if results[0]["context"].get("squall_optimized") != "yes":
        warnings.append("this is a debug build: its figures are not squall's")


def load(path):
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise Failure(f"{path} is not JSON: {error}") from error


def save(document, path):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1, ensure_ascii=False)
        out.write("\n")


def now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def answer(options):
    results = [load(path) for path in options.results]
    warnings = []
    if options.warnings:
        with open(options.warnings, encoding="utf-8") as file:
            warnings = list(dict.fromkeys(line.strip() for line in file))
    check_results(results, warnings)
    found = importlib.import_module(options.question.replace("-", "_")).answer(results, warnings)

    print("\n".join(found.lines))
    print()
    for expectation in found.expectations:
        print(f"expected  {expectation['rule']}: {expectation['found']}, {'met' if expectation['met'] else 'NOT MET'}")
    for warning in warnings:
        print(textwrap.fill(warning, 100, initial_indent="warning   ", subsequent_indent=" " * 10, break_long_words=False))
    verdict = found.sentence
    if found.expectations:
        verdict = ("as" if all(entry["met"] for entry in found.expectations) else "NOT as") + " expected: " + verdict
    if warnings:
        verdict += f"; {len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    if options.json:
        document = {
            "question": options.question,
            "command": options.command,
            "date": now(),
            "machine": facts(options.compiler, options.target),
            "processes": len(results),
            "figures": found.figures,
            "table": found.lines,
            "expectations": found.expectations,
            "warnings": warnings,
            "verdict": verdict,
        }
        save(document, options.json)
        print(f"JSON      {options.json}")
    print(f"bench/run: {verdict}")


def check_document(document, path):
    if not isinstance(document, dict) or not {"question", "figures", "machine"} <= document.keys():
        raise Failure(f"{path} is not what bench/run --json writes")
    return document


def load_document(path):
    return check_document(load(path), path)


def compare_files(options):
    base, new = load_document(options.base), load_document(options.new)
    for name, path, document in (("A", options.base, base), ("B", options.new, new)):
        print(f"{name}         {path}: {document['command']}, {document['date']}")
    verdict, is_within = compare(base, new, options.fail_if_slower, print)
    print(f"bench/run: {verdict}")
    sys.exit(0 if is_within else 1)


def write_page(options):
    """Of results.json as written here before, or of several files that --json wrote."""
    from page import judged, page  # with matplotlib, which nothing else needs

    first = load(options.results[0])
    if isinstance(first, dict) and "answers" in first:
        results = first
        for document in results["answers"]:
            check_document(document, options.results[0])
    else:
        answers = [load_document(path) for path in options.results]
        results = {"command": options.command, "date": now(), "failures": options.failure, "answers": answers}
    directory = Path(options.directory)
    directory.mkdir(exist_ok=True)
    (directory / "index.html").write_text(page(results), encoding="utf-8")
    save(results, directory / "results.json")
    expectations = judged(results)
    met = sum(entry["met"] for entry in expectations)
    print(f"JSON      {directory / 'results.json'}")
    print(f"bench/run: {directory / 'index.html'}: {met} of {len(expectations)} figures as expected")


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("answer")
    command.add_argument("question")
    command.add_argument("results", nargs="*")
    command.add_argument("--warnings", help="a file with a warning in each line")
    command.add_argument("--json", help="where to write everything for a program to read")
    command.add_argument("--command", default="", help="what made the results")
    command.add_argument("--compiler", default="")
    command.add_argument("--target", help="the file or device that was read or written")
    command.set_defaults(run=answer)
    command = commands.add_parser("compare")
    command.add_argument("base", metavar="A.json")
    command.add_argument("new", metavar="B.json")
    command.add_argument(
        "--fail-if-slower", type=float, metavar="PERCENT", help="exit code 1 where a figure that differs is worse by more"
    )
    command.set_defaults(run=compare_files)
    command = commands.add_parser("page")
    command.add_argument("directory")
    command.add_argument("results", nargs="+")
    command.add_argument("--command", default="", help="what made the results")
    command.add_argument("--failure", action="append", default=[], help="what could not be measured, and why")
    command.set_defaults(run=write_page)
    options = parser.parse_args()
    options.run(options)


try:
    main()
except (Failure, OSError, ValueError, KeyError) as error:
    what = f"no {error}" if isinstance(error, KeyError) else error
    print(f"bench/run: {what}", file=sys.stderr)
    sys.exit(2)
