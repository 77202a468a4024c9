// keyturn keys ... : the tenant's own keys.

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
  const command = new Command('keys').description("the tenant's keys");
  command
    .command('list')
    .description('keys, their states, and how far rotations are')
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
    .description('new keys at once; everything under the old ones is rewrapped in the background')
    .option('--purpose <name...>', 'default: all that rotate')
    .option('--wait', 'until everything is rewrapped')
    .action(async (options: { purpose?: string[]; wait?: boolean }, self: Command) => {
      const session = sessionOf(self);
      const started = await session.client.rotateKeys(options.purpose);
      const mine = new Set(openOnes(started.rotations).map((rotation) => `${rotation.purpose}/${rotation.to_version}`));
      let { rotations } = started;
      const ours = () => rotations.filter((rotation) => mine.has(`${rotation.purpose}/${rotation.to_version}`));
      while (options.wait === true && openOnes(ours()).length > 0) {
        if (process.stderr.isTTY === true) process.stderr.write(`\r${progress(ours())}`);
        await sleep(LIMITS.progressPollMs);
        ({ rotations } = await session.client.keys());
      }
      if (options.wait === true && process.stderr.isTTY === true) process.stderr.write(`\r${progress(ours())}\n`);
      session.show({ rotations: ours() }, ({ rotations: shown }) => rotationTable(shown));
      note(
        options.wait === true
          ? green('all rewrapped; retired keys are destroyed in 7 days')
          : dim('follow it with: keyturn keys list'),
      );
    });
  return command;
}
