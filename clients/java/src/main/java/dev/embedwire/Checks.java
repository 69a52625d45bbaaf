package dev.embedwire;

import java.time.Duration;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Argument checks. Each throws an {@link IllegalArgumentException} that names the argument and its limit. */
final class Checks {
    private static final Pattern PORT = Pattern.compile(".*:([0-9]+)");

    private Checks() {}

    static void range(String name, int value, int least, int most) {
        if (value < least || value > most) {
            String limits = most == Integer.MAX_VALUE ? least + " or more" : least + " to " + most;
            throw new IllegalArgumentException(name + ": must be " + limits + ", got " + value);
        }
    }

    static void timeout(String name, Optional<Duration> timeout) {
        if (timeout.isPresent() && timeout.get().isNegative()) {
            throw new IllegalArgumentException(name + ": must be 0 or more, got " + timeout.get());
        }
    }

    static void target(String target) {
        if (target.isEmpty() || target.contains(" ") || !target.equals(target.strip())) {
            throw new IllegalArgumentException("target: must be HOST:PORT, or another gRPC target, without spaces");
        }
        if (target.startsWith("http://") || target.startsWith("https://")) {
            throw new IllegalArgumentException("target: must be HOST:PORT without http://; use tls() to choose TLS");
        }
        Matcher port = PORT.matcher(target);
        if (port.matches() && (port.group(1).length() > 5 || Integer.parseInt(port.group(1)) > 65535)) {
            throw new IllegalArgumentException("target: the port must be at most 65535, got " + port.group(1));
        }
    }

    /** Rejects credentials that cannot be sent, or would be sent in plaintext to a non-loopback address. */
    static void secret(String name, Optional<String> secret, boolean isSafe) {
        if (secret.isPresent() && !secret.get().matches("[\\x21-\\x7e]+")) {
            throw new IllegalArgumentException(name + ": must be printable ASCII without spaces, and not empty");
        }
        if (secret.isPresent() && !isSafe) {
            throw new IllegalArgumentException(name + ": would be sent in plaintext; use tls(), or a loopback target");
        }
    }
}
