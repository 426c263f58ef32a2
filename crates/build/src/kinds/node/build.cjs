// Runs within the build container: the scripts of a project as npm runs them, and in place of npm,
// npx, pnpm and yarn for scripts that call these. Installing is done before, so it does nothing.
'use strict';
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const ROOT = '/app';
const LEFT_BEHIND = new Set(['node_modules', '.git', '.cache', '.turbo', '.parcel-cache']);

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function binaries(directory) {
  const found = [];
  for (let at = directory; ; at = path.dirname(at)) {
    found.push(path.join(at, 'node_modules', '.bin'));
    if (at === path.dirname(at)) return found.join(':');
  }
}

function shell(directory, command, more) {
  const done = spawnSync('/bin/sh', ['-c', command], {
    cwd: directory,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${binaries(directory)}:${process.env.PATH}`, ...more },
  });
  if (done.status !== 0) process.exit(done.status ?? 1);
}

function manifest(directory) {
  return JSON.parse(fs.readFileSync(path.join(directory, 'package.json'), 'utf8'));
}

function script(directory, name, more) {
  const own = manifest(directory);
  if (!own.scripts?.[name]) {
    console.error(`error: ${directory}/package.json has no script ${name}`);
    process.exit(1);
  }
  for (const step of [`pre${name}`, name, `post${name}`]) {
    const text = own.scripts[step];
    if (!text) continue;
    const command = step === name ? [text, ...more.map(quoted)].join(' ') : text;
    console.log(`> ${command}`);
    shell(directory, command, {
      npm_lifecycle_event: step,
      npm_package_name: own.name ?? '',
      npm_package_version: own.version ?? '',
      npm_execpath: '/usr/local/bin/npm',
      INIT_CWD: directory,
    });
  }
}

function workspace(name) {
  for (const directory of (process.env.JUCHU_WORKSPACES ?? '').split(':').filter(Boolean)) {
    const whole = path.join(ROOT, directory);
    if (directory === name.replace(/^\.\//, '') || manifest(whole).name === name) return whole;
  }
  console.error(`error: the workspace has no package ${name}`);
  process.exit(1);
}

function packageManager(tool, words) {
  let directories = [process.cwd()];
  const rest = [];
  while (words.length) {
    const word = words.shift();
    const [option, value] = word.split('=', 2);
    if (word === '--') { rest.push(...words.splice(0)); break; }
    if (['-w', '--workspace', '--filter', '-F', '--prefix', '-C', '--dir', '--cwd'].includes(option)) {
      const given = value ?? words.shift();
      const isPath = ['--prefix', '-C', '--dir', '--cwd'].includes(option);
      directories = [isPath ? path.resolve(given) : workspace(given)];
    } else if (['-r', '--recursive', '--workspaces', '-ws'].includes(word)) {
      const all = (process.env.JUCHU_WORKSPACES ?? '').split(':').filter(Boolean);
      directories = all.map((directory) => path.join(ROOT, directory));
    } else if (word.startsWith('-') && rest.length === 0) {
      continue; // such as --silent
    } else rest.push(word);
  }
  let [first, ...more] = rest;
  if (tool === 'yarn' && first === 'workspace') {
    directories = [workspace(more.shift())];
    first = more.shift();
  }
  if (first === undefined || ['ci', 'install', 'i', 'add'].includes(first)) return;
  if (tool === 'npx' || ['exec', 'dlx', 'x'].includes(first)) {
    const command = (tool === 'npx' ? rest : more).map(quoted).join(' ');
    return directories.forEach((directory) => shell(directory, command, {}));
  }
  if (['run', 'run-script', 'rum'].includes(first)) first = more.shift();
  const several = directories.length > 1;
  for (const directory of directories) {
    const scripts = manifest(directory).scripts ?? {};
    if (several && !scripts[first]) continue;
    if (!scripts[first] && tool !== 'npm') shell(directory, [first, ...more].map(quoted).join(' '), {});
    else script(directory, first, more);
  }
}

function handOver() {
  const filter = (from) => !LEFT_BEHIND.has(path.basename(from)) && !from.endsWith('/.next/cache');
  fs.cpSync(ROOT, '/out/app', { recursive: true, verbatimSymlinks: true, filter });
}

const tool = path.basename(process.argv[1]);
const words = process.argv.slice(2);
if (tool !== 'build.cjs') {
  packageManager(tool, words);
} else if (words[0] === 'build') {
  script(ROOT, 'build', []);
  handOver();
} else {
  const npm = ['/juchu/npm/bin/npm-cli.js', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', '--omit-lockfile-registry-resolved'];
  const done = spawnSync(process.execPath, npm, { cwd: ROOT, stdio: 'inherit' });
  if (done.status !== 0) process.exit(done.status ?? 1);
  fs.copyFileSync(path.join(ROOT, 'package-lock.json'), '/out/package-lock.json');
}
