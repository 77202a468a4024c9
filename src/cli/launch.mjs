#!/usr/bin/env node
// Starts everything on a bare machine: installs the dependencies, finds Node 24 and hands over to it (see launch-tasks.mjs).
// It must never use syntax or a module that an old Node cannot load: its one job there is to say so in one line.
const running = process.versions.node;
const EXIT_CONFIG = 78; // sysexits.h EX_CONFIG: the machine is not set up for it, trying again does not help

// SECURITY: without a listener this signal makes Node open a debugger port to every user of the machine.
process.on('SIGUSR1', () => {});

if (Number.parseInt(running, 10) >= 20) {
  import('./launch-tasks.mjs')
    .then((tasks) => tasks.launch(process.argv.slice(2)))
    .catch((error) => {
      console.error(`keyturn: ${error.message}`);
      process.exitCode = error.exitCode || 1;
    });
} else {
  console.error(`keyturn: Node ${running} is too old to start; install Node 24, or any Node from 20 on (nodejs.org)`);
  process.exitCode = EXIT_CONFIG;
}
