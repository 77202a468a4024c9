// The rotation of the root key of a running installation on Node (decision 0013): make the new key, name it in installation.json, wrap the key
// register and every cell's keys under it, then forget the previous one. Every step can be repeated after a crash.
// It must never forget the previous root key while an entry or a key is under it.
import type { Caller } from '../access/principals.ts';
import { toTimestamp } from '../base/clock.ts';
import { type ErrorCode, fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { KeyRegister } from '../cell/register.ts';
import type { RootKeyDoor, RootRotationState } from '../http/context.ts';
import type { Submits } from '../vault/cell-handle.ts';
import type { HomeVault } from '../vault/home-vault.ts';
import type { Platform } from '../vault/open-cell.ts';
import type { KeyedJob } from '../vault/rotate-keys.ts';
import { noteRootRotation, requestRootRotation, rewrapCellUnderRoot } from '../vault/rotate-root.ts';
import { writeDurably } from './durable-files.ts';
import { finishedFile, type InstallationFile, installationText, turnedFile } from './installation-file.ts';
import type { RootProvider } from './root-provider.ts';
import { nextProvider, type RootSources } from './root-providers.ts';

export interface RootRotationOptions {
  readonly home: HomeVault;
  readonly tenants: {
    find(id: string): { readonly vault: Submits<KeyedJob> } | undefined;
    finishHalfMade(): Promise<void>;
  };
  readonly register: KeyRegister;
  readonly platform: Platform;
  readonly paths: { readonly installation: string };
  readonly installation: { readonly file: InstallationFile };
  readonly options: { readonly sources: RootSources; readonly log: (line: string) => void };
}

export class RootRotation implements RootKeyDoor {
  readonly #o: RootRotationOptions;
  #file: InstallationFile;
  #isBeginning = false;
  #isStopping = false;
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  readonly #done = new Set<string>();
  #registerIsDone = false;
  /** 0 if no rotation is under way. */
  #total = 0;
  #blocked: RootRotationState['blocked'] = [];

  constructor(options: RootRotationOptions) {
    this.#o = options;
    this.#file = options.installation.file;
  }

  state(): RootRotationState {
    const { previous, root } = this.#file;
    const sinceMs = previous === undefined ? undefined : Date.parse(previous.since);
    const done = this.#done.size + (this.#registerIsDone ? 1 : 0);
    return { provider: root.provider, sinceMs, total: this.#total, done, blocked: this.#blocked };
  }

  /**
   * Makes and names the new root key, and continues in the background.
   * @throws forbidden | conflict while one is under way, or as the provider
   */
  async rotate(caller: Caller): Promise<RootRotationState> {
    const { home, platform, options } = this.#o;
    const provider = nextProvider(options.sources, this.#file.root.provider);
    const isUnderWay = this.#isBeginning || this.#file.previous !== undefined;
    this.#isBeginning ||= !isUnderWay;
    try {
      await home.submit((job) => requestRootRotation(job, caller, () => isUnderWay && underWay()));
      await this.#turn(provider).catch(async (error) => {
        await home.submit((job) => noteRootRotation(job, 'failed'));
        throw error;
      });
    } finally {
      this.#isBeginning &&= isUnderWay;
    }
    try {
      provider.settle();
    } catch (error) {
      // The next start does it: until then the new key is opened where it was made.
      options.log(`root key: the new keyfile could not take its place (${(error as { code?: string }).code ?? 'unknown'})`);
    }
    platform.faults.at('root.after-place');
    this.continue();
    return this.state();
  }

  async #turn(provider: RootProvider): Promise<void> {
    const { platform, paths } = this.#o;
    const made = await provider.next(platform.installationId);
    platform.faults.at('root.after-key');
    const file = turnedFile(this.#file, platform.root.current, made, toTimestamp(platform.clock.now()));
    writeDurably(paths.installation, installationText(file));
    // Without a wait in between: from the moment the file names the new key, everything new is sealed under it.
    platform.root.turnTo(made.root);
    this.#file = file;
    this.#total = this.#o.register.cellIds().length + 1;
    platform.faults.at('root.after-switch');
  }

  /** Continues a rotation that is under way; called at every start. */
  continue(): void {
    if (this.#file.previous === undefined || this.#running !== undefined) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { home } = this.#o;
    const { log } = this.#o.options;
    let isTold = false;
    while (!this.#isStopping) {
      try {
        if (!isTold) await home.submit((job) => noteRootRotation(job, 'begun'));
        isTold = true;
        await this.#pass();
        if (this.#isComplete()) return await this.#finish();
        if (this.#blocked.length === 0) continue;
        log(`root key: ${this.#blocked.map(({ id, code }) => `${id}: ${code}`).join(', ')}; the rotation tries again`);
      } catch (error) {
        log(`root key: ${error instanceof Error ? error.message : 'unknown'}; the rotation tries again`);
      }
      if (!this.#isStopping) await this.#rest();
    }
  }

  async #pass(): Promise<void> {
    const { register, tenants, platform } = this.#o;
    const blocked: { id: string; code: ErrorCode }[] = [];
    while (register.rewrap(LIMITS.rewrapBatchRows) > 0) {
      platform.faults.at('root.mid-register');
      await nextTurn();
    }
    this.#registerIsDone = true;
    await tenants.finishHalfMade().catch(() => {});
    // By the entries of the register: the home cell's list leaves out damaged rows, and their cells would be lost with the old root key.
    const ids = register.cellIds();
    this.#total = ids.length + 1;
    for (const id of ids) {
      if (this.#isStopping) return;
      if (this.#done.has(id)) continue;
      try {
        await rewrapCellUnderRoot(this.#cell(id));
        this.#done.add(id);
      } catch (error) {
        blocked.push({ id, code: error instanceof KeyturnError ? error.code : 'internal' });
      }
      await nextTurn();
    }
    this.#blocked = blocked;
  }

  #cell(id: string): Submits<KeyedJob> {
    const { home, tenants, platform } = this.#o;
    return id === platform.installationId ? home : (tenants.find(id) ?? fail('not_found', 'no such tenant')).vault;
  }

  #isComplete(): boolean {
    const { register } = this.#o;
    return register.countStale() === 0 && register.cellIds().every((id) => this.#done.has(id));
  }

  async #finish(): Promise<void> {
    const { home, register, platform, paths, options } = this.#o;
    register.eraseResidue();
    await home.submit((job) => noteRootRotation(job, 'finished', register.cellIds().length));
    platform.faults.at('root.before-finish');
    const file = finishedFile(this.#file);
    writeDurably(paths.installation, installationText(file));
    this.#file = file;
    platform.root.forgetPrevious();
    this.#done.clear();
    this.#registerIsDone = false;
    this.#total = 0;
    platform.faults.at('root.after-finish');
    options.log('root key: everything is under the new root key; the previous one opens only copies from before the rotation');
  }

  #rest(): Promise<void> {
    return new Promise((resume) => {
      const timer = setTimeout(resume, LIMITS.rootRetryMs);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resume();
      };
    });
  }
}

function underWay(): never {
  return fail('conflict', 'a rotation of the root key is under way: wait until it has finished');
}

function nextTurn(): Promise<void> {
  return new Promise((resume) => void setImmediate(resume));
}
