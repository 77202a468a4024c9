// Exports of a log in memory as tests take them: as lines, verified with any options.
import { ExportVerifier, type VerifyOptions, type VerifyResult } from '../../src/audit/verify-export.ts';
import { exportAudit } from '../../src/vault/read-audit.ts';
import { putKey, type TestTenant, testTenant, workloadToken } from './vaults.ts';

/** A tenant whose log has some twenty events in as many blocks, under several signed heads. */
export async function loggedTenant(): Promise<TestTenant> {
  const tenant = await testTenant();
  for (let i = 0; i < 12; i++) {
    await putKey(tenant, `key-${i}`, 'not-a-real-secret');
    tenant.clock.pass(400);
  }
  await workloadToken(tenant);
  return tenant;
}

/** The whole export, or that of a range, without the newline of its last line. */
export async function exportedLines(from: TestTenant, range?: { from: number; to: number }): Promise<string[]> {
  let text = '';
  for await (const slice of exportAudit(from.vault, from.user(['auditor'], 'everywhere'), range))
    text += new TextDecoder().decode(slice);
  return text.trimEnd().split('\n');
}

export function verifyLines(lines: readonly string[], options: VerifyOptions = {}): VerifyResult {
  const verifier = new ExportVerifier(options);
  for (const line of lines) verifier.push(line);
  return verifier.finish();
}
