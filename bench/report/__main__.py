#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# Makes of what several processes of one benchmark wrote: tables of medians, what they mean in plain words and in one
# sentence, and JSON of one shape for all questions. What a question's figures mean is in the module of its name. bench/run
# runs this. The exit code is 3 where an expectation was asked for and is missed.
#
#   python3 bench/report answer [--warnings FILE] [--taken FILE] [--expect] [--json FILE] ... QUESTION RESULT...
#   python3 bench/report compare A.json B.json [--fail-if-slower PERCENT]
#   python3 bench/report page [--expect] [--command TEXT] [--failure TEXT] DIRECTORY JSON...
import argparse
import importlib
import json
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path

import others
from compare import compare
from machine import facts
from sample import Failure

MISSED = 3  # an expectation
WIDTH = 110  # of lines of words


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


def lines_of(path):
    return Path(path).read_text(encoding="utf-8").splitlines() if path else []


def wrapped(line, indent, label=""):
    return textwrap.fill(line, WIDTH, initial_indent=f"{label:<{indent}}" if label else "", subsequent_indent=" " * indent,
                         break_long_words=False)


def missed_text(expectations):
    missed = sum(not entry["met"] for entry in expectations)
    return f"{missed} of {len(expectations)} expectations missed" if missed else f"all {len(expectations)} expectations met"


def answer(options):
    results = [load(path) for path in options.results]
    warnings = list(dict.fromkeys(line.strip() for line in lines_of(options.warnings)))
    taken = others.others(lines_of(options.taken))
    if others.is_much(taken):
        warnings.append(f"{others.words(taken)}: figures are worse and lie further apart than on an idle machine")
    check_results(results, warnings)
    found = importlib.import_module(options.question.replace("-", "_")).answer(results, warnings)
    expectations = found.expectations if options.expect else []

    print("\n".join(found.lines).rstrip("\n"))
    print()
    for line in found.words:
        print(wrapped(line, 4 if line.startswith(" ") else 0))
    print()
    for expectation in expectations:
        print(f"expected  {expectation['rule']}: {expectation['found']}, {'met' if expectation['met'] else 'MISSED'}")
    if taken and not others.is_much(taken):
        print(wrapped(others.words(taken), 10, "machine"))
    for warning in warnings:
        print(wrapped(warning, 10, "warning"))
    if options.json:
        document = {
            "question": options.question,
            "command": options.command,
            "date": now(),
            "machine": facts(options.compiler, options.target),
            "processes": len(results),
            "figures": found.figures,
            "table": found.lines,
            "words": found.words,
            "verdict": found.sentence,
            "expectations": expectations,
            "taken": taken,
            "warnings": warnings,
        }
        save(document, options.json)
        print(f"JSON      {options.json}")
    last = [found.sentence]
    if warnings:
        last.append(f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}")
    if expectations:
        last.append(missed_text(expectations))
    print(f"bench/run: {'; '.join(last)}")
    return MISSED if not all(entry["met"] for entry in expectations) else 0


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
    return 0 if is_within else 1


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
    print(f"JSON      {directory / 'results.json'}")
    expectations = judged(results) if options.expect else []
    if options.expect and not expectations:
        raise Failure("no expectation is in these results: they are there when it was measured with --expect")
    answered = len({document["question"] for document in results["answers"]})
    last = f"{directory / 'index.html'}: {answered} question{'s' if answered > 1 else ''} answered"
    print(f"bench/run: {last}{'; ' + missed_text(expectations) if expectations else ''}")
    return MISSED if not all(entry["met"] for entry in expectations) else 0


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("answer")
    command.add_argument("question")
    command.add_argument("results", nargs="*")
    command.add_argument("--warnings", help="a file with a warning in each line")
    command.add_argument("--taken", help="a file with what others took of the CPUs, a line for each process")
    command.add_argument("--expect", action="store_true", help="say what squall's developers expect, and whether it is met")
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
    command.add_argument("--expect", action="store_true", help="fail where an expectation is missed")
    command.add_argument("--failure", action="append", default=[], help="what could not be measured, and why")
    command.set_defaults(run=write_page)
    options = parser.parse_args()
    return options.run(options)


try:
    sys.exit(main())
except (Failure, OSError, ValueError, KeyError) as error:
    what = f"no {error}" if isinstance(error, KeyError) else error
    print(f"bench/run: {what}", file=sys.stderr)
    sys.exit(2)
