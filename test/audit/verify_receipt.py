#!/usr/bin/env python3
"""Checks a receipt, as docs/receipts.md describes it; Python's standard library only. Exit codes: 0 valid, 8 refused."""

import argparse, base64, hashlib, json, sys

from verify_export import b64, read_key, sha, signed_text


def need(holds, why):  # no assert: python -O leaves those out
    if not holds: raise ValueError(why)


def text_of(value): return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def climb(leaf, index, size, proof):
    """The root of the tree, from a leaf and its siblings (RFC 9162 section 2.1.3.2)."""
    last, root = size - 1, leaf
    for sibling in proof:
        need(last > 0, "the proof is too long")
        if index % 2 == 1 or index == last:
            root = sha(b"\1" + sibling + root)
            while index % 2 == 0:
                index, last = index // 2, last // 2
        else:
            root = sha(b"\1" + root + sibling)
        index, last = index // 2, last // 2
    need(last == 0, "the proof is too short")
    return root


def verify(data, pinned):
    text = data.decode("utf-8")
    receipt = json.loads(text)
    members = ["receipt", "origin", "verifier_key", "statement", "event", "proof", "checkpoint", "signature"]
    need(list(receipt) == members and text == text_of(receipt) + "\n", "the form of the text")
    need(receipt["receipt"] == "keyturn-receipt-v1", "the form of the text")
    need(pinned is None or receipt["verifier_key"] == pinned, "another key")
    key, origin, said = read_key(receipt["verifier_key"]), receipt["origin"], receipt["statement"]
    before = text_of({name: receipt[name] for name in members[:-1]}).encode()
    note = signed_text(receipt["signature"], key)
    need(receipt["signature"].count("\n") == 6, "one signature")
    digest = hashlib.sha256(before).hexdigest()
    need(note == f"keyturn-receipt-v1\n{origin}\nrun {said['rotation']['run']}\nsha256 {digest}\n", "the signature")
    head = signed_text(receipt["checkpoint"], key).split("\n")
    need(head[0] == origin == receipt["verifier_key"].split("+")[0], "the origin")
    event = json.loads(receipt["event"])
    leaf = sha(b"\0" + receipt["event"].encode())
    need(0 <= event["index"] < int(head[1]), "the event is not covered")
    need(climb(leaf, event["index"], int(head[1]), [b64(one) for one in receipt["proof"]]) == b64(head[2]), "the proof")
    found = (event["action"], event["outcome"], event["target"]["id"], event["details"]["run"], event["details"]["version"],
             event["details"]["cause"])
    stated = ("credential.revoke", "success", said["credential"]["id"], said["revocation"]["run"], said["old_version"],
              said["old_value"]["verdict"])
    need(found == stated, "the event is about something else")
    return said["old_value"]["verdict"]


options = argparse.ArgumentParser()
options.add_argument("file")
options.add_argument("--key")
given = options.parse_args()
try:
    print(f"valid: {verify(open(given.file, 'rb').read(), given.key)}")
except Exception as error:
    print(f"refused: {error!r}")
    sys.exit(8)
