// Whether a test of a real server cannot run because its program is not installed. It must never be silent, and in CI it is a failure:
// .ci/run installs the programs.

/** @throws Error if .ci/run has said that the programs are installed (KEYTURN_TEST_SERVERS=installed) */
export function isMissing(debianPackage: string, program: string | undefined): boolean {
  if (program !== undefined) return false;
  const remedy = `${debianPackage} is not installed; on Debian and Ubuntu: apt-get install --no-install-recommends ${debianPackage}`;
  if (process.env['KEYTURN_TEST_SERVERS'] === 'installed') throw new Error(remedy);
  console.warn(`skipped: ${remedy}`);
  return true;
}
