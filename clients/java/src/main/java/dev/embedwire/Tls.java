package dev.embedwire;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Optional;

/**
 * TLS settings: root certificates, and a client certificate for mutual TLS. Certificates and keys are PEM.
 *
 * <p>Private keys are PKCS #8 ({@code BEGIN PRIVATE KEY}). The older formats ({@code BEGIN RSA PRIVATE KEY},
 * {@code BEGIN EC PRIVATE KEY}) are accepted if {@code org.bouncycastle:bcpkix-jdk18on} is on the class path.
 */
public final class Tls {
    /** TLS with the root certificates of the Java runtime. */
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

    /** Returns these settings with the trusted root certificates, in place of those of the Java runtime. */
    public Tls withRootCertificates(byte[] certificates) {
        return new Tls(Optional.of(certificates), certificateChain, privateKey, serverName);
    }

    /**
     * Returns these settings with a client certificate, for mutual TLS: the certificate chain (the certificate and its
     * intermediates) and its key, without a password.
     */
    public Tls withClientCertificate(byte[] chain, byte[] key) {
        return new Tls(rootCertificates, Optional.of(chain), Optional.of(key), serverName);
    }

    /** Returns these settings with the expected name of the server certificate, in place of the host of the target. */
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
