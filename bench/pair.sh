# Pairs on loopback for a measurement; to be sourced. They run in a temporary directory, and end with the shell.
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null || true; kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
start() { # name command… -> URL in $url
  local name=$1 binary=$2
  shift 2
  "$binary" serve --data "$work/$name" --listen 127.0.0.1:0 --partner-listen 127.0.0.1:0 --ready-file "$work/$name.json" --log-level warn --partner-timeout 10m "$@" &
  pids+=($!)
  for _ in $(seq 200); do [ -s "$work/$name.json" ] && break; sleep 0.05; done
  url=$(sed 's/.*"client_url":"\([^"]*\)".*/\1/' "$work/$name.json")
}
ask() { curl -sf -X POST "$1/v2/pipeline" -d "{\"requests\":[{\"type\":\"sequence\",\"sql\":\"$2\"},{\"type\":\"close\"}]}" >/dev/null; }
pair() { # name command… -> the principal's URL in $url
  local name=$1 principal
  shift
  start "$name-principal" "$@"
  principal=$url
  ask "$principal" "create table acc(id integer primary key, bal int, filler text); with recursive n(i) as (select 1 union all select i+1 from n where i<100000) insert into acc select i,0,hex(randomblob(42)) from n"
  ask "$principal" "create table big(x)"
  for _ in $(seq 1 16 "${filler:-0}"); do ask "$principal" "with recursive n(i) as (select 1 union all select i+1 from n where i<168) insert into big select randomblob(100000) from n"; done
  start "$name-mirror" "$@"
  "$1" mirror start --principal "$principal" --mirror "$url" --yes >/dev/null
  url=$principal
}
