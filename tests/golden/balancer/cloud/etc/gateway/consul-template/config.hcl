consul {
  address    = "127.0.0.1:8500"
  token_file = "/etc/gateway/consul-template/token"
  retry {
    # No limit: the default gives up after twelve attempts, and the list would never change again.
    attempts    = 0
    max_backoff = "5s"
  }
}

max_stale        = "2s"
block_query_wait = "60s"
log_level        = "warn"
# By default it only reacts to SIGINT.
kill_signal      = "SIGTERM"

wait {
  min = "100ms"
  max = "500ms"
}

deduplicate {
  enabled = false
}

template {
  source               = "/etc/gateway/consul-template/backends.json.ctmpl"
  destination          = "/run/gateway/backends.json"
  perms                = 0644
  backup               = true
  error_on_missing_key = true
  error_fatal          = false
}
