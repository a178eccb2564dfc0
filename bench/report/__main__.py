#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# Makes of what several processes of one benchmark wrote: tables of medians, a verdict in one sentence, and JSON of one
# shape for all questions. What a question's figures mean is in the module of its name. bench/run runs this.
#
#   python3 bench/report answer [--warnings FILE] [--json FILE] ... QUESTION RESULT...
#   python3 bench/report compare A.json B.json [--fail-if-slower PERCENT]
import argparse
import importlib
import json
import sys
import textwrap
from datetime import datetime, timezone

from compare import compare
from machine import facts
from sample import Failure


def check_results(results, warnings):
    if not results:
        raise Failure("there is no result to report")
    for result in results:
        for run in result.get("benchmarks", []):
            if run.get("error_occurred"):
                raise Failure(f"{run['name']}: {run['error_message']}")
    if results[0]["context"].get("squall_optimized") != "yes":
        warnings.append("this is a debug build: its figures are not squall's")


def load(path):
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise Failure(f"{path} is not JSON: {error}") from error


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
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": facts(options.compiler, options.target),
            "processes": len(results),
            "figures": found.figures,
            "table": found.lines,
            "expectations": found.expectations,
            "warnings": warnings,
            "verdict": verdict,
        }
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1, ensure_ascii=False)
            out.write("\n")
        print(f"JSON      {options.json}")
    print(f"bench/run: {verdict}")


def load_document(path):
    document = load(path)
    if not isinstance(document, dict) or not {"question", "figures", "machine"} <= document.keys():
        raise Failure(f"{path} is not what bench/run --json writes")
    return document


def compare_files(options):
    base, new = load_document(options.base), load_document(options.new)
    for name, path, document in (("A", options.base, base), ("B", options.new, new)):
        print(f"{name}         {path}: {document['command']}, {document['date']}")
    verdict, is_within = compare(base, new, options.fail_if_slower, print)
    print(f"bench/run: {verdict}")
    sys.exit(0 if is_within else 1)


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
    options = parser.parse_args()
    options.run(options)


try:
    main()
except (Failure, OSError, ValueError, KeyError) as error:
    what = f"no {error}" if isinstance(error, KeyError) else error
    print(f"bench/run: {what}", file=sys.stderr)
    sys.exit(2)
