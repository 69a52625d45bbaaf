package dev.embedwire;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Optional;

/**
 * TLS settings: trusted roots, and a client certificate for mutual TLS. Certificates and keys are PEM.
 *
 * <p>A private key is PKCS #8 ({@code BEGIN PRIVATE KEY}). The older forms ({@code BEGIN RSA PRIVATE KEY}, {@code BEGIN
 * EC PRIVATE KEY}) are read too if {@code org.bouncycastle:bcpkix-jdk18on} is on the class path.
 */
public final class Tls {
    /** TLS with the roots that Java trusts. */
    public static final Tls DEFAULT = new Tls(Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty());

    private final Optional<byte[]> rootCertificates;
    private final Optional<byte[]> certificateChain;
    private final Optional<byte[]> privateKey;
    private final Optional<String> serverName;

    private Tls(
            Optional<byte[]> rootCertificates,
            Optional<byte[]> certificateChain,
            Optional<byte[]> privateKey,
            Optional<String> serverName) {
        this.rootCertificates = rootCertificates;
        this.certificateChain = certificateChain;
        this.privateKey = privateKey;
        this.serverName = serverName;
    }

    /** The same settings with the authorities to trust, in place of those that Java trusts. */
    public Tls withRootCertificates(byte[] certificates) {
        return new Tls(Optional.of(certificates), certificateChain, privateKey, serverName);
    }

    /**
     * The same settings with a certificate of this client, for mutual TLS: the certificate with those between it and a
     * root, and its key without a password.
     */
    public Tls withClientCertificate(byte[] chain, byte[] key) {
        return new Tls(rootCertificates, Optional.of(chain), Optional.of(key), serverName);
    }

    /** The same settings with the name that the server's certificate must have, in place of the host of the target. */
    public Tls withServerName(String name) {
        return new Tls(rootCertificates, certificateChain, privateKey, Optional.of(name));
    }

    Optional<String> serverName() {
        return serverName;
    }

    ChannelCredentials credentials() {
        try {
            var made = TlsChannelCredentials.newBuilder();
            if (rootCertificates.isPresent()) {
                made.trustManager(new ByteArrayInputStream(rootCertificates.get()));
            }
            if (certificateChain.isPresent()) {
                made.keyManager(
                        new ByteArrayInputStream(certificateChain.get()),
                        new ByteArrayInputStream(privateKey.orElseThrow()));
            }
            return made.build();
        } catch (IOException error) {
            throw new UncheckedIOException(error); // bytes in memory do not fail
        }
    }
}
