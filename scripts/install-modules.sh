#!/usr/bin/env bash
# Installs the npm modules when package-lock.json asks for others than are there.
# Plain bash and whatever Node the machine has: Node 24 itself is one of the modules.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=node_modules/.sluice-lock
wanted=$(sha256sum package-lock.json | cut -d' ' -f1)
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ -x node_modules/.bin/node ] && exit 0

for tool in node npm flock; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is missing. On Debian or Ubuntu: apt-get install nodejs npm util-linux (Node 20 or later)." >&2
    exit 1
  fi
done
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
if [ "$major" -lt 20 ]; then
  echo "Node $(node --version) is too old to start with: install Node 20 or later (the build then uses its own Node 24)." >&2
  exit 1
fi

# Two runs at once must not install into the same folder.
exec 9>.install.lock
flock 9

# After `npm install NAME` by hand the modules are right already: compare versions, then only note it.
same='
const read = (file) => JSON.parse(require("fs").readFileSync(file, "utf8")).packages;
try {
  const wanted = read("package-lock.json"), installed = read("node_modules/.package-lock.json");
  for (const [at, entry] of Object.entries(wanted)) {
    if (!at.startsWith("node_modules/") || entry.link || entry.optional) continue;
    if (installed[at]?.version !== entry.version) process.exit(1);
  }
  for (const at of Object.keys(installed)) if (!(at in wanted)) process.exit(1);
} catch { process.exit(1); }
'
if node -e "$same" && [ -x node_modules/.bin/node ]; then
  echo "$wanted" >"$stamp"
  exit 0
fi

started=$SECONDS
echo "modules: installing from package-lock.json"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
npm ci --no-audit --no-fund >"$log" 2>&1 &
npm_pid=$!
trap 'kill "$npm_pid" 2>/dev/null || true; rm -f "$log"' EXIT
while kill -0 "$npm_pid" 2>/dev/null; do
  sleep 1
  waited=$((SECONDS - started))
  if [ $((waited % 5)) -eq 0 ]; then
    echo "modules: $(ls node_modules 2>/dev/null | wc -l) folders so far, ${waited} s"
  fi
done
if ! wait "$npm_pid"; then
  grep -v EBADENGINE "$log" | sed '/^npm error Usage:/,$d' | tail -n 40 >&2
  echo "modules: npm ci failed; its output is above." >&2
  exit 1
fi
trap 'rm -f "$log"' EXIT
echo "$wanted" >"$stamp"
echo "modules: ready after $((SECONDS - started)) s"
