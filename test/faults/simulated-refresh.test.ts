// D6, D11 on Node: ten thousand crashes and stalls in the middle of refreshes, over databases on disk. Settings: simulated-plan.ts.
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Sql } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { testAuthorizer } from '../kit/cedar.ts';
import { playAll, SIMULATION_TIMEOUT_MS } from './simulated-plan.ts';

it(
  'no grant is lost on Node that the provider lets be kept, whatever dies or stalls in the middle of a refresh',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'keyturn-simulation-'));
    let files = 0;
    const next = () => join(directory, `${++files}.db`);
    const authorizer = testAuthorizer();
    try {
      const report = await playAll('Node', async (tell) => {
        let path = next();
        // What lies on disk at that moment is what the next process finds, whatever the old handle still has in memory.
        const cut = (sql: Sql): Sql => {
          const from = path;
          path = next();
          for (const suffix of ['', '-wal']) if (existsSync(from + suffix)) copyFileSync(from + suffix, path + suffix);
          sql.close();
          rmSync(from);
          return openNodeSql(path);
        };
        await tell({ authorizer, sql: openNodeSql(path), cut });
      });
      expect(report.crashes).toBeGreaterThan(report.stalls);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
  SIMULATION_TIMEOUT_MS,
);
