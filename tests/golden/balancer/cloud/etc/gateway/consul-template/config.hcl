consul {
  address    = "127.0.0.1:8500"
  token_file = "/etc/gateway/consul-template/token"
  retry {
    # Without end; the default gives up after twelve attempts, and the list would stay as it is for ever.
    attempts    = 0
    max_backoff = "5s"
  }
}

max_stale        = "2s"
block_query_wait = "60s"
log_level        = "warn"
# By itself it hears only SIGINT.
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
