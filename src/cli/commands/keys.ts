// keyturn keys ...: the tenant's encryption keys.

import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { LIMITS } from '../../base/limits.ts';
import type { WireKeys } from '../../http/v1/wire.ts';
import { bar, dim, green, note, table } from '../print.ts';
import { sessionOf } from '../session.ts';

function openOnes(rotations: WireKeys['rotations']): WireKeys['rotations'] {
  return rotations.filter((rotation) => rotation.finished_at === null);
}

function progress(rotations: WireKeys['rotations']): string {
  const total = rotations.reduce((sum, rotation) => sum + rotation.total, 0);
  const done = rotations.reduce((sum, rotation) => sum + rotation.done, 0);
  return `${bar(done, total)}  ${done} of ${total} rewrapped`;
}

function rotationTable(rotations: WireKeys['rotations']): string {
  return table(
    ['purpose', 'to version', 'rewrapped', 'started', 'finished'],
    rotations.map((rotation) => [
      rotation.purpose,
      rotation.to_version,
      `${rotation.done}/${rotation.total}`,
      rotation.started_at,
      rotation.finished_at,
    ]),
  );
}

export function keysCommand(): Command {
  const command = new Command('keys').description("list and rotate the tenant's encryption keys");
  command
    .command('list')
    .description('list keys, their states and the progress of rotations')
    .action(async (_options: unknown, self: Command) => {
      const session = sessionOf(self);
      session.show(await session.client.keys(), ({ keys, rotations }) =>
        [
          table(
            ['purpose', 'version', 'state', 'wraps', 'created', 'destroyed after'],
            keys.map((key) => [
              key.purpose,
              key.version,
              key.state,
              key.wraps,
              key.created_at,
              key.destroyed_at ?? key.destroy_after_at,
            ]),
          ),
          ...(rotations.length === 0 ? [] : ['', rotationTable(rotations)]),
        ].join('\n'),
      );
    });
  command
    .command('rotate')
    .description('create new keys and rewrap stored values in the background')
    .option('--purpose <name...>', 'purposes; default: all')
    .option('--wait', 'wait until all values are rewrapped')
    .action(async (options: { purpose?: string[]; wait?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const started = await session.client.rotateKeys(options.purpose);
      const mine = new Set(openOnes(started.rotations).map((rotation) => `${rotation.purpose}/${rotation.to_version}`));
      let { rotations } = started;
      const selected = () => rotations.filter((rotation) => mine.has(`${rotation.purpose}/${rotation.to_version}`));
      while (options.wait === true && openOnes(selected()).length > 0) {
        if (process.stderr.isTTY === true) process.stderr.write(`\r${progress(selected())}`);
        await sleep(LIMITS.progressPollMs);
        ({ rotations } = await session.client.keys());
      }
      if (options.wait === true && process.stderr.isTTY === true) process.stderr.write(`\r${progress(selected())}\n`);
      session.show({ rotations: selected() }, ({ rotations: shown }) => rotationTable(shown));
      note(
        options.wait === true
          ? green('all values are rewrapped; the old keys are destroyed in 7 days')
          : dim('check the progress with: keyturn keys list'),
      );
    });
  return command;
}
