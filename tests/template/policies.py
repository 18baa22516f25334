"""Runs parliament over policies, with the Python of `.local/policies`, where it is installed.

Reads ``{name: policy}`` as JSON, and writes ``[[name, issue, action or resource or detail], ...]``.
"""

import json
import sys
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses pkg_resources
    import parliament


def main() -> None:
    """Print the findings."""
    found: list[list[str]] = []
    for name, policy in json.load(sys.stdin).items():
        analyzed = parliament.analyze_policy_string(
            json.dumps(policy), include_community_auditors=True
        )
        found += [[name, finding.issue, about(finding)] for finding in analyzed.findings]
    json.dump(found, sys.stdout)


def about(finding: Any) -> str:
    """A stable name of a finding's subject."""
    detail = finding.detail
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return ", ".join(sorted({str(one.get("action", one)) for one in detail}))
    if isinstance(detail, dict):
        return ", ".join(str(one) for one in detail.values())
    where = finding.location.get("string", "") if isinstance(finding.location, dict) else ""
    return str(detail or where or "")


if __name__ == "__main__":
    main()
