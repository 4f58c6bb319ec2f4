package kafka

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// clientProperties is a Kafka client.properties taken in: what is understood,
// by key, and the line of each.
type clientProperties struct {
	path  string
	value map[string]string
	line  map[string]int
}

// understood are the properties that have an effect here.
func understood() []string {
	return []string{
		"bootstrap.servers", "security.protocol", "client.id", "compression.type",
		"sasl.mechanism", "sasl.jaas.config", "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.scope",
		"sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.credentials.client.secret",
		"sasl.login.callback.handler.class", "ssl.endpoint.identification.algorithm",
		"ssl.truststore.location", "ssl.truststore.type", "ssl.truststore.password", "ssl.truststore.certificates",
		"ssl.keystore.location", "ssl.keystore.type", "ssl.keystore.password",
		"ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.key.password",
	}
}

// harmless are properties of security that may be passed over: TLS 1.2 and 1.3
// are spoken, and tokens renewed, in any case.
func harmless(key string) bool {
	return strings.HasPrefix(key, "sasl.login.refresh.") || slices.Contains([]string{
		"ssl.protocol", "ssl.enabled.protocols", "ssl.keymanager.algorithm", "ssl.trustmanager.algorithm",
		"ssl.secure.random.implementation", "sasl.login.connect.timeout.ms", "sasl.login.read.timeout.ms",
		"sasl.login.retry.backoff.ms", "sasl.login.retry.backoff.max.ms",
	}, key)
}

// readProperties sorts the entries of a client.properties. A property of
// security that is not understood is an error, because passing over it would
// reach the hub in another way than was meant; any other is named in a remark.
func readProperties(path string, b []byte) (*clientProperties, []string, error) {
	entries, err := parseProperties(b)
	if err != nil {
		return nil, nil, inFile(path, err)
	}
	p := &clientProperties{path: path, value: map[string]string{}, line: map[string]int{}}
	var without []string
	for _, e := range entries {
		switch {
		case slices.Contains(understood(), e.key):
			if strings.HasPrefix(e.value, "${") {
				return nil, nil, inFile(path, &lineError{e.line, e.key + " refers to a value elsewhere by ${…}, which is not supported"})
			}
			p.value[e.key], p.line[e.key] = strings.TrimSpace(e.value), e.line
		case !harmless(e.key) && (strings.HasPrefix(e.key, "ssl.") || strings.HasPrefix(e.key, "sasl.") || strings.HasPrefix(e.key, "security.")):
			return nil, nil, inFile(path, &lineError{e.line, fmt.Sprintf("%q is not supported, and without it the hub would be reached in another way than it says", e.key)})
		default:
			without = append(without, fmt.Sprintf("%q in line %d", e.key, e.line))
		}
	}
	if len(without) == 0 {
		return p, nil, nil
	}
	return p, []string{fmt.Sprintf("properties of %s that have no effect here: %s", path, strings.Join(without, ", "))}, nil
}

// wrong is what is wrong with a property.
func (p *clientProperties) wrong(key, rule string) error {
	return inFile(p.path, &lineError{p.line[key], key + " " + rule})
}

func (o Options) fromProperties(d *draft, r *reading) error {
	if o.ClientPropertiesFile == "" {
		return nil
	}
	err := d.properties(o.ClientPropertiesFile, r)
	if err != nil {
		return fmt.Errorf("client_properties_file: %w", err)
	}
	return nil
}

func (d *draft) properties(path string, r *reading) error {
	b, err := r.file(path)
	if err != nil {
		return err
	}
	p, remarks, err := readProperties(path, b)
	if err != nil {
		return err
	}
	d.remarks = append(d.remarks, remarks...)
	d.clientID = p.value["client.id"]
	if err := d.plainProperties(p); err != nil {
		return err
	}
	protocol := strings.ToUpper(p.value["security.protocol"])
	sasl, secure := strings.HasPrefix(protocol, "SASL_"), strings.HasSuffix(protocol, "SSL")
	switch protocol {
	case "", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		return p.wrong("security.protocol", "must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
	}
	d.secure = tlsOff
	if secure {
		d.secure = tlsOn
		if err := d.tlsProperties(p, r); err != nil {
			return err
		}
	}
	if sasl {
		return d.saslProperties(p)
	}
	return nil
}

func (d *draft) plainProperties(p *clientProperties) error {
	if list := p.value["bootstrap.servers"]; list != "" {
		for _, b := range strings.Split(list, ",") {
			b = strings.TrimSpace(b)
			if !validBroker(b) {
				return p.wrong("bootstrap.servers", "must be a list of host:port, with commas between them")
			}
			d.brokers = append(d.brokers, b)
		}
	}
	d.compression = p.value["compression.type"]
	if _, known := codecs()[d.compression]; !known && d.compression != "" {
		return p.wrong("compression.type", "must be none, gzip, snappy, lz4 or zstd")
	}
	return nil
}

func (d *draft) saslProperties(p *clientProperties) error {
	d.mechanism = p.value["sasl.mechanism"]
	if !knownMechanism(d.mechanism) {
		rule := "must be " + mechanismNames
		if d.mechanism == "" {
			return inFile(p.path, &lineError{p.line["security.protocol"], "security.protocol wants sasl.mechanism, which " + rule})
		}
		return p.wrong("sasl.mechanism", rule)
	}
	if handler := p.value["sasl.login.callback.handler.class"]; handler != "" && !strings.HasSuffix(handler, ".OAuthBearerLoginCallbackHandler") {
		return p.wrong("sasl.login.callback.handler.class", "may only be Kafka's own OAuthBearerLoginCallbackHandler")
	}
	d.tokenURL = p.value["sasl.oauthbearer.token.endpoint.url"]
	if config := p.value["sasl.jaas.config"]; config != "" {
		m, err := parseJAASConfig(config)
		if err != nil {
			// The value is one line of the file, however it is broken there.
			return inFile(p.path, &lineError{p.line["sasl.jaas.config"], "sasl.jaas.config: " + ruleOf(err)})
		}
		m.line = p.line["sasl.jaas.config"]
		d.login, d.loginOf = &m, p.path
		if err := d.fromLogin(); err != nil {
			return inFile(p.path, err)
		}
		d.login = nil
	}
	for key, to := range map[string]*string{
		"sasl.oauthbearer.client.credentials.client.id":     &d.oauth.clientID,
		"sasl.oauthbearer.client.credentials.client.secret": &d.oauth.secret,
		"sasl.oauthbearer.scope":                            &d.oauth.scope,
	} {
		if v := p.value[key]; v != "" {
			*to = v
		}
	}
	return nil
}

// ruleOf returns an error's text without the line that it names.
func ruleOf(err error) string {
	if le, ok := err.(*lineError); ok { //nolint:errorlint // of our own parser, not wrapped
		return le.rule
	}
	return err.Error()
}

func (d *draft) tlsProperties(p *clientProperties, r *reading) error {
	if _, said := p.line["ssl.endpoint.identification.algorithm"]; said && !strings.EqualFold(p.value["ssl.endpoint.identification.algorithm"], "https") {
		return p.wrong("ssl.endpoint.identification.algorithm", "must be https: the names of brokers are always checked; set hub.tls.server_name where their certificates are for another name")
	}
	if err := d.trustProperties(p, r); err != nil {
		return err
	}
	return d.keyProperties(p, r)
}

func (d *draft) trustProperties(p *clientProperties, r *reading) (err error) {
	kind, err := p.storeKind("ssl.truststore.type")
	if err != nil {
		return err
	}
	if text := p.value["ssl.truststore.certificates"]; text != "" {
		if d.trusted, err = pemRoots("ssl.truststore.certificates", []byte(pemText(text))); err != nil {
			return p.wrong("ssl.truststore.certificates", "must be certificates as PEM")
		}
		return nil
	}
	if path := p.value["ssl.truststore.location"]; path != "" {
		if d.trusted, err = r.roots(path, kind, p.value["ssl.truststore.password"]); err != nil {
			return p.wrong("ssl.truststore.location", err.Error())
		}
	}
	return nil
}

func (d *draft) keyProperties(p *clientProperties, r *reading) error {
	kind, err := p.storeKind("ssl.keystore.type")
	if err != nil {
		return err
	}
	if chain := p.value["ssl.keystore.certificate.chain"]; chain != "" {
		pair, err := keyPair([]byte(pemText(chain)), []byte(pemText(p.value["ssl.keystore.key"])))
		if err != nil {
			return p.wrong("ssl.keystore.certificate.chain", "and ssl.keystore.key must be a certificate and its key as PEM: "+err.Error())
		}
		d.certs = []tls.Certificate{pair}
		return nil
	}
	path := p.value["ssl.keystore.location"]
	if path == "" {
		return nil
	}
	pair, err := r.keyStore(path, kind, p.value["ssl.keystore.password"])
	if err != nil {
		return p.wrong("ssl.keystore.location", err.Error())
	}
	d.certs = []tls.Certificate{pair}
	return nil
}

// storeKind is the type of a store. Kafka's default is JKS, under which Java
// reads PKCS12 too; what the file really is shows when it is read.
func (p *clientProperties) storeKind(key string) (string, error) {
	switch kind := strings.ToUpper(p.value[key]); kind {
	case storePEM, storePKCS12:
		return kind, nil
	case "", storeJKS:
		return storePKCS12, nil
	}
	return "", p.wrong(key, "must be PEM or PKCS12")
}

// pemText restores the line breaks of a PEM text that a property holds in one
// line: Kafka takes spaces for them.
func pemText(s string) string {
	var out strings.Builder
	for rest := s; rest != ""; {
		begin := strings.Index(rest, "-----BEGIN ")
		if begin < 0 {
			break
		}
		rest = rest[begin:]
		label, body, ok := strings.Cut(rest[len("-----BEGIN "):], "-----")
		end := "-----END " + label + "-----"
		data, after, closed := strings.Cut(body, end)
		if !ok || !closed {
			return s
		}
		out.WriteString("-----BEGIN " + label + "-----\n" + strings.Join(strings.Fields(data), "\n") + "\n" + end + "\n")
		rest = after
	}
	return out.String()
}
