# Ray under this allocation: a head on the first node, where the training is led from, and the other nodes.
# Never 'ray stop': it ends every Ray of this user on a node.
(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$marks/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$marks/token
export RAY_USAGE_STATS_ENABLED=0 RAY_DASHBOARD_STARTUP_TIMEOUT_S=120
# Of the job, for others may share a node with it. Workers' ports keep away from all the others.
ray_port=$((6000 + SLURM_JOB_ID % 1000))
agent_port=$((7000 + SLURM_JOB_ID % 1000))
first_worker_port=$((11000 + SLURM_JOB_ID % 100 * 200))
others=

start_node() {
  local ip folder began where try
  ip=$("$python" -m tailshard.launch.interfaces "$interface") || exit 1
  where=(--address="$address")
  if [ "$1" = head ]; then
    where=(--head --port="$ray_port" --include-dashboard=false)
  fi
  for try in 1 2 3; do
    folder=$scratch/ts-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}$try
    # Ray puts sockets some 65 characters below it, and their paths may have 107.
    [ ${#folder} -le 40 ] || { echo "error: $folder is too long for Ray; name a shorter scratch" >&2; exit 1; }
    mkdir -p -m 700 "$folder" || exit 1
    began=$SECONDS
    TMPDIR=$folder "$python" -m ray.scripts.scripts start "${where[@]}" --node-ip-address="$ip" --block \
      --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory=104857600 --temp-dir="$folder" \
      --dashboard-agent-listen-port="$agent_port" \
      --min-worker-port="$first_worker_port" --max-worker-port=$((first_worker_port + 199)) >"$folder/start" 2>&1 &
    ray=$!
    trap 'kill "$ray"; rm -rf "$folder"; exit 0' TERM
    while kill -0 "$ray" 2>/dev/null; do
      if [ -e "$marks/end" ]; then
        kill "$ray"
        sleep 2 # its children go with it
        rm -rf "$folder"
        exit 0
      fi
      sleep 1
    done
    tail -n 20 "$folder/start" "$folder"/session_latest/logs/{raylet,gcs_server}.{out,err} 2>/dev/null
    rm -rf "$folder"
    # A head that was there takes everything with it; another node comes back.
    [ "$1" = head ] && [ -e "$marks/ready" ] && exit 1
    echo "Ray ended on $(hostname) after $((SECONDS - began)) s, try $try" >&2
    sleep 5
  done
  exit 1
}

wait_for_nodes() {
  local until=$((SECONDS + 300))
  until timeout 60 "$python" -m tailshard.launch.ray "$address" "$1" 2>"$marks/nodes"; do
    if [ "$SECONDS" -gt "$until" ] || ! kill -0 "$head" 2>/dev/null; then
      say "error: Ray did not start: $(tail -n 1 "$marks/nodes")"
      return 1
    fi
    sleep 2 &
    wait $!
  done
}

on_nodes() { # NODES of which LIST, WHAT
  srun --overlap --nodes="$1" --ntasks="$1" --ntasks-per-node=1 --nodelist="$2" --cpus-per-task="$cpus" --mem=0 \
    --kill-on-bad-exit=0 bash -c "$(declare -f start_node); start_node $3" &
}

start_ray() {
  all_nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
  other_nodes=("${all_nodes[@]:1}")
  address=$("$python" -m tailshard.launch.interfaces "$interface"):$ray_port || return 1
  export address python interface marks cpus gpus scratch ray_port agent_port first_worker_port
  say "Ray on ${all_nodes[*]}"
  on_nodes 1 "${all_nodes[0]}" head
  head=$!
  wait_for_nodes 1 || return 1
  if [ ${#other_nodes[@]} -gt 0 ]; then
    on_nodes ${#other_nodes[@]} "$(IFS=,; echo "${other_nodes[*]}")" other
    others=$!
    wait_for_nodes ${#all_nodes[@]} || return 1
  fi
  touch "$marks/ready"
  export TAILSHARD_RAY_ADDRESS=$address
}

stop_ray() {
  touch "$marks/end"
  for _ in {1..20}; do
    kill -0 $others $head 2>/dev/null || return 0
    sleep 1
  done
  kill $others $head 2>/dev/null
}
