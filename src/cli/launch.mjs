#!/usr/bin/env node
// The entry point: installs the dependencies, finds Node 24 and runs the command on it (see launch-tasks.mjs).
// It must never use syntax or a module that an old Node cannot load: on an old Node it prints one line that says so.
const running = process.versions.node;
const EXIT_CONFIG = 78; // sysexits.h EX_CONFIG: a configuration error, a retry does not help

// SECURITY: without a listener this signal makes Node open a debugger port for every user of the machine.
process.on('SIGUSR1', () => {});

if (Number.parseInt(running, 10) >= 20) {
  import('./launch-tasks.mjs')
    .then((tasks) => tasks.launch(process.argv.slice(2)))
    .catch((error) => {
      console.error(`keyturn: ${error.message}`);
      process.exitCode = error.exitCode || 1;
    });
} else {
  console.error(`keyturn: Node ${running} is too old; install Node 24, or at least Node 20 (nodejs.org)`);
  process.exitCode = EXIT_CONFIG;
}
