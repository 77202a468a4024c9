import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepareDataDirectory } from '../../src/node/database-files.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caught } from '../contracts/sql-cases.ts';

let root: string;
let data: string;
let file: string;
let umaskBefore: number;

beforeEach(() => {
  umaskBefore = process.umask(0o000);
  root = mkdtempSync(join(tmpdir(), 'keyturn-files-'));
  data = join(root, 'deep', 'data');
  file = join(data, 'cell.db');
});

afterEach(() => {
  process.umask(umaskBefore);
  rmSync(root, { recursive: true });
});

function mode(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

function modes(): Record<string, string> {
  return Object.fromEntries(readdirSync(data).map((name) => [name, mode(join(data, name))]));
}

/** Opens, writes, looks at the rights while everything is open, closes. */
function modesWhileOpen(): Record<string, string> {
  const sql = openNodeSql(file);
  try {
    sql.script('CREATE TABLE IF NOT EXISTS line (text TEXT) STRICT;');
    sql.run("INSERT INTO line (text) VALUES ('x')");
    return modes();
  } finally {
    sql.close();
  }
}

const refused = (what: RegExp) => ({ code: 'storage_unavailable', message: expect.stringMatching(what) });

describe.each([0o000, 0o022, 0o077, 0o277])('with umask %o', (umask) => {
  beforeEach(() => void process.umask(umask));

  it('the directory is 0700 and every file in it 0600', () => {
    expect(modesWhileOpen()).toEqual({ 'cell.db': '600', 'cell.db-wal': '600' });
    expect(mode(data)).toBe('700');
    expect(modesWhileOpen()).toEqual({ 'cell.db': '600', 'cell.db-wal': '600' });
  });
});

describe('what is there already', () => {
  it('loses the rights of group and others', () => {
    mkdirSync(data, { recursive: true });
    chmodSync(data, 0o777);
    for (const name of ['cell.db', 'cell.db-wal', 'cell.db-shm', 'cell.db-journal'])
      writeFileSync(join(data, name), '', { mode: 0o666 });
    expect(Object.values(modesWhileOpen())).not.toContain('666');
    expect(mode(data)).toBe('700');
  });

  it('keeps its content', () => {
    modesWhileOpen();
    modesWhileOpen();
    const sql = openNodeSql(file);
    expect(sql.get('SELECT count(*) AS lines FROM line')).toEqual({ lines: 2 });
    sql.close();
  });

  it('is refused as a symbolic link: the directory, the file, what stands beside it', () => {
    const elsewhere = join(root, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o700 });
    symlinkSync(elsewhere, join(root, 'link'));
    expect(caught(() => openNodeSql(join(root, 'link', 'cell.db')))).toMatchObject(refused(/directory is a symbolic link/));
    prepareDataDirectory(data);
    symlinkSync(join(elsewhere, 'planted.db'), file);
    expect(caught(() => openNodeSql(file))).toMatchObject(refused(/file must not be a symbolic link/));
    rmSync(file);
    symlinkSync(join(elsewhere, 'planted.db'), `${file}-wal`);
    expect(caught(() => openNodeSql(file))).toMatchObject(refused(/file must not be a symbolic link/));
    expect(readdirSync(elsewhere)).toEqual([]);
  });

  it('is refused as a second name of another file', () => {
    prepareDataDirectory(data);
    writeFileSync(join(root, 'other'), '', { mode: 0o600 });
    linkSync(join(root, 'other'), file);
    expect(caught(() => openNodeSql(file))).toMatchObject(refused(/one name/));
  });

  it('is refused where the directory is a file', () => {
    mkdirSync(join(root, 'deep'));
    writeFileSync(data, '');
    expect(caught(() => openNodeSql(file))).toMatchObject({ code: 'storage_unavailable' });
  });

  it('is refused when another account owns it', ({ skip }) => {
    if (process.getuid?.() !== 0) {
      console.warn('SKIPPED the foreign-owner test: only root can give a file away');
      skip();
    }
    modesWhileOpen();
    chownSync(file, 12_345, 12_345);
    expect(caught(() => openNodeSql(file))).toMatchObject(refused(/file is owned by another account/));
    chownSync(file, 0, 0);
    chownSync(data, 12_345, 12_345);
    expect(caught(() => openNodeSql(file))).toMatchObject(refused(/directory is owned by another account/));
  });
});
