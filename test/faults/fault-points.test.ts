// The list of fault points and the code agree: a point that nothing reaches would make a crash test pass by testing nothing.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FAULT_POINTS } from '../../src/base/faults.ts';
import { faultsFromEnvironment } from '../../src/node/faults-from-environment.ts';

const ROOT = join(import.meta.dirname, '../..');

function placed(): string[] {
  const files = ['src', 'rotation'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.includes('node_modules'))
      .map((path) => join(ROOT, folder, path)),
  );
  return files.flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/(?:\.at\(|\b(?:begun|before|after|booking|booked): )'([a-z]+\.[a-z-]+)'/g)].map(
      (match) => match[1] ?? '',
    ),
  );
}

describe('fault points', () => {
  it('are exactly those the code passes', () => {
    expect([...new Set(placed())].sort()).toEqual([...FAULT_POINTS].sort());
  });

  it('are deaf in a production build', () => {
    const faults = faultsFromEnvironment({ FAULT: 'cell.before-commit:error' });
    expect(() => faults.at('cell.before-commit')).not.toThrow();
  });

  it('refuse a name that does not exist', () => {
    expect(() => faultsFromEnvironment({ FAULT: 'cell.before-lunch', KEYTURN_TEST_BUILD: '1' })).toThrow(RangeError);
  });

  it('strike at the visit asked for, once', () => {
    const faults = faultsFromEnvironment({ FAULT: 'keys.mid-rewrap:error:2', KEYTURN_TEST_BUILD: '1' });
    const visit = () => {
      try {
        faults.at('keys.mid-rewrap');
        return 'passed';
      } catch {
        return 'struck';
      }
    };
    expect([visit(), visit(), visit()]).toEqual(['passed', 'struck', 'passed']);
  });
});
