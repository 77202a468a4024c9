#!/usr/bin/env python3
"""Verifies an export of Keyturn's audit log from docs/audit-format.md alone: python3 verify_export.py FILE [--key VKEY] [--checkpoint FILE]...
Exit code 0: whole, or a partial export whose events are all proven. 8: not whole, with what is covered and what is wrong. Standard library only; Ed25519 follows RFC 8032 section 5.1.7."""
import argparse, base64, hashlib, json, re, sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
def sha(data): return hashlib.sha256(data).digest()
def add(p, q):  # extended coordinates
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)
def times(s, p):
    q = (0, 1, 1, 0)
    while s:
        if s & 1: q = add(q, p)
        p, s = add(p, p), s >> 1
    return q
def point(data):
    y = int.from_bytes(data, 'little')
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P: return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P: x = x * ROOT_OF_MINUS_1 % P
    if (x * x - x2) % P or (x == 0 and sign): return None
    if x & 1 != sign: x = P - x
    return (x, y, 1, x * y % P)
BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, 'little'))
def ed25519(public, text, signature):
    a, r, s = point(public), point(signature[:32]), int.from_bytes(signature[32:], 'little')
    if len(signature) != 64 or a is None or r is None or s >= L: return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), 'little') % L
    left, right = times(s, BASE), add(r, times(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0

def b64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text: raise ValueError('base64 has another spelling')
    return data
def read_key(vkey):
    name, key_id, typed = re.fullmatch(r'([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})', vkey).groups()
    typed = b64(typed)
    if typed[0] != 1 or sha(name.encode() + b'\n' + typed)[:4].hex() != key_id: raise ValueError('the key id does not fit')
    return name, bytes.fromhex(key_id), typed[1:]
def signed_text(note, key):
    """The text of a note; ValueError unless this key signed it."""
    name, key_id, public = key
    if any(ord(c) < 32 and c != '\n' for c in note): raise ValueError('a control character in a note')
    text, signatures = note[:note.rindex('\n\n') + 1], note[note.rindex('\n\n') + 2:]
    if not signatures.endswith('\n') or signatures.count('\n') > 32: raise ValueError('not a note')
    found = False
    for line in signatures[:-1].split('\n'):
        who, blob = re.fullmatch(r'\u2014 ([^+\s]+) ([A-Za-z0-9+/]+={0,2})', line).groups()
        if who != name or b64(blob)[:4] != key_id: continue
        if not ed25519(public, text.encode(), b64(blob)[4:]): raise ValueError('bad signature')
        found = True
    if not found: raise ValueError('no signature of this key')
    return text

N = r'(?:0|[1-9]\d*)'
CHECKPOINT = re.compile(rf'([^\n]+)\n({N})\n([A-Za-z0-9+/]{{43}}=)\nkeyturn-seq {N}\n(keyturn-anchor {N} [A-Za-z0-9+/]{{43}}=\n)?'
                        rf'keyturn-incarnation \S+\nkeyturn-min-key-version {N}\nkeyturn-at \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\n')

class Tree:
    def __init__(self): self.size, self.peaks = 0, []
    def append(self, leaf):
        rest = self.size
        while rest & 1: leaf, rest = sha(b'\1' + self.peaks.pop() + leaf), rest >> 1
        self.peaks.append(leaf); self.size += 1
    def root(self):
        if not self.peaks: return sha(b'')
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]): root = sha(b'\1' + peak + root)
        return root

HEADER = ['export', 'origin', 'size', 'verifier_key']
SHAPES = {'keyturn-audit-v1': [HEADER, HEADER + ['from', 'to']], 'leaves': [['export', 'first', 'hashes']],
          'checkpoint': [['export', 'note']], 'end': [['export', 'note']]}

def verify(data, pinned, kept):
    """What is wrong, how many first events heads cover, how many events there are, and their range if the export is partial."""
    wrong, leaves, stated, notes, header, end, digest = [], {}, {}, [], None, None, hashlib.sha256()
    lines = data.split(b'\n')
    if lines.pop() != b'': wrong.append('the last line has no newline')
    for number, line in enumerate(lines):
        try:
            value = json.loads(line.decode('utf-8'))
            kind = value.get('export')
            if end is not None: raise ValueError('stands after the end line')
            if (kind == 'keyturn-audit-v1') != (number == 0): raise ValueError('the header is the first line')
            if kind is None:
                due = header.get('from', 0) + len(leaves)
                if value['index'] != due: wrong.append(f"event {value['index']} stands where event {due} should")
                leaves[due] = sha(b'\0' + line)
            elif list(value) not in SHAPES[kind] or json.dumps(value, separators=(',', ':'), ensure_ascii=False).encode() != line:
                raise ValueError('has another spelling')
            elif kind == 'keyturn-audit-v1':
                if any(type(value.get(name, 0)) is not int for name in ['size', 'from', 'to']): raise ValueError('a number is not whole')
                header = value
            elif kind == 'leaves':
                hashes = b64(value['hashes'])
                for i in range(0, len(hashes), 32): stated[value['first'] + i // 32] = hashes[i:i + 32]
            elif kind == 'checkpoint': notes.append(value['note'])
            else: end = (value['note'], f"events {len(leaves)}\nlines {number}\nsha256 {digest.hexdigest()}\n")
        except Exception as error: wrong.append(f'line {number + 1}: {error!r}')
        digest.update(line + b'\n')
    if header is None: return ['there is no header'], 0, 0, None
    part = (header['from'], header['to']) if 'from' in header else None
    if pinned is not None and pinned != header['verifier_key']: wrong.append('the export names another key')
    heads = []
    try:
        key = read_key(header['verifier_key'] if pinned is None else pinned)
        if key[0] != header['origin']: raise ValueError('the key is of another log')
        for note in notes + kept:
            origin, size, root, anchor = CHECKPOINT.fullmatch(signed_text(note, key)).groups()
            if origin != key[0]: raise ValueError('a checkpoint of another log')
            heads.append((int(size), b64(root)))
        if end is None: wrong.append('there is no end line')
        elif signed_text(end[0], key) != f"keyturn-export-v1\n{key[0]}\n{end[1]}": wrong.append('the end line is of other lines')
    except Exception as error: wrong.append(f'signature: {error!r}')
    wrong += [f'event {i} has another hash than stated' for i, leaf in leaves.items() if stated.get(i) != leaf]
    # The stated hash stands for an event that a partial export leaves out, and for no other.
    known, tree, roots, sizes = {**stated, **leaves} if part else leaves, Tree(), {}, {size for size, _ in heads}
    for i in range(len(known) + 1):
        if i in sizes: roots[i] = tree.root()
        if i not in known: break
        tree.append(known[i])
    covered = max([size for size, root in heads if roots.get(size) == root], default=0)
    odd = sorted(size for size, root in heads if roots.get(size) != root)
    if odd: wrong.append(f'{len(odd)} checkpoints do not fit, the smallest of {odd[0]} events, the largest of {odd[-1]}')
    first, last = part or (0, header['size'] - 1)
    if not (list(leaves) == list(range(first, last + 1)) and covered == len(known) == header['size'] == len(stated)):
        wrong.append('no checkpoint covers everything')
    return wrong, covered, len(leaves), part

if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('file'); parser.add_argument('--key'); parser.add_argument('--checkpoint', action='append', default=[])
    given = parser.parse_args()
    read = lambda path: open(path, encoding='utf-8', newline='').read()
    wrong, covered, events, part = verify(open(given.file, 'rb').read(), given.key, [read(path) for path in given.checkpoint])
    print(f"{events} events, the first {covered} covered by a signed head; key {'of the export itself' if given.key is None else 'given'}")
    for what in wrong[:20]: print(f'wrong: {what}')
    print('not whole' if wrong else 'whole' if part is None else f'whole from event {part[0]} to event {part[1]}: a part of the log')
    sys.exit(8 if wrong else 0)
