package drill

import (
	"fmt"
	"strings"
)

// each writes a line for each origin.
func (f *Front) each(line func(o FrontOrigin) string) string {
	var b strings.Builder
	for _, o := range f.origins {
		b.WriteString(line(o) + "\n")
	}
	return b.String()
}

// timeout is written so that all of them understand it.
func (f *Front) timeout() string { return fmt.Sprintf("%dms", f.Timeout.Milliseconds()) }

// doorConfig is Postroad's own, with the settings it comes with, but that a crowd
// of clients may come from one address.
func doorConfig(f *Front) string {
	return fmt.Sprintf("http: {listen: %q, clients: {connections: 0, connections_per_address: 0}}\nadmin: {listen: %q}\ndoor:\n  origins:\n", f.address, f.admin) +
		f.each(func(o FrontOrigin) string {
			stream := ""
			if o.Stream != "" {
				stream = fmt.Sprintf("stream: \"http://%s\", ", o.Stream)
			}
			return fmt.Sprintf("    - {name: %s, url: \"http://%s\", %spriority: %d, weight: %d}", o.Name, o.Address, stream, max(o.Priority, 1), f.weight())
		}) + strings.Join(f.settings, "\n") + "\n"
}

func haproxyConfig(f *Front, retry bool) string {
	on := "conn-failure" // a request that was never sent
	if retry {
		on = "all-retryable-errors"
	}
	return `global
    nbthread 1
    maxconn 8000
    hard-stop-after 10s
defaults
    mode http
    timeout connect 500ms
    timeout client 1m
    timeout http-keep-alive 1m
    timeout server ` + f.timeout() + `
    timeout tunnel 1h
    retries 3
    option redispatch
    retry-on ` + on + `
frontend clients
    bind ` + f.address + `
    default_backend stamps
backend stamps
    balance roundrobin
    option httpchk GET /healthz
    default-server check inter 1s fall 2 rise 2 on-marked-down shutdown-sessions
` + f.each(func(o FrontOrigin) string {
		return fmt.Sprintf("    server %s %s weight %d", o.Name, o.Address, f.weight())
	})
}

func nginxConfig(f *Front, retry bool) string {
	next := "error timeout http_503"
	if retry {
		next += " non_idempotent"
	}
	return `daemon off;
worker_processes 1;
pid ` + f.dir + `/nginx.pid;
error_log stderr warn;
events { worker_connections 16000; }
http {
    access_log off;
    client_max_body_size 16m;
    client_body_temp_path ` + f.dir + `/body;
    proxy_temp_path ` + f.dir + `/proxy;
    fastcgi_temp_path ` + f.dir + `/fastcgi;
    uwsgi_temp_path ` + f.dir + `/uwsgi;
    scgi_temp_path ` + f.dir + `/scgi;
    map $http_upgrade $upgraded { default upgrade; "" ""; }
    upstream stamps {
` + f.each(func(o FrontOrigin) string {
		return fmt.Sprintf("        server %s weight=%d max_fails=2 fail_timeout=2s;", o.Address, f.weight())
	}) + `        keepalive 64;
        keepalive_requests 1000000;
    }
    keepalive_requests 1000000;
    server {
        listen ` + f.address + `;
        location / {
            proxy_pass http://stamps;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgraded;
            proxy_connect_timeout 500ms;
            proxy_send_timeout ` + f.timeout() + `;
            proxy_read_timeout ` + f.timeout() + `;
            proxy_next_upstream ` + next + `;
        }
        location /connection/ {
            proxy_pass http://stamps;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgraded;
            proxy_read_timeout 1h;
        }
    }
}
`
}

func caddyConfig(f *Front, retry bool) string {
	_, port, _ := strings.Cut(f.address, ":")
	match := ""
	if retry {
		// A body that has been read is there for another attempt only if it is kept.
		match = "        buffer_requests\n        lb_retry_match method GET POST\n"
	}
	var to []string
	for _, o := range f.origins {
		to = append(to, o.Address)
	}
	return `{
    admin ` + f.admin + `
    auto_https off
    grace_period 10s
    log {
        level WARN
    }
}
http://:` + port + ` {
    bind 127.0.0.1
    reverse_proxy ` + strings.Join(to, " ") + ` {
        lb_policy round_robin
        lb_try_duration 5s
        lb_try_interval 50ms
` + match + `        health_uri /healthz
        health_interval 1s
        health_timeout 500ms
        fail_duration 2s
        max_fails 2
        header_up X-Configuration ` + fmt.Sprint(f.weight()) + `
        transport http {
            dial_timeout 500ms
            response_header_timeout ` + f.timeout() + `
            keepalive_idle_conns_per_host 128
        }
    }
}
`
}
