package dev.embedwire;

import java.util.regex.Pattern;

/**
 * Recognizes loopback targets. Credentials may be sent to them in plaintext, and no proxy is used for them. Uncertain
 * targets count as remote.
 */
final class Loopback {
    private static final String BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    private static final String HOST = "(?:localhost|127(?:\\." + BYTE + "){3}|\\[::1\\])(?::[0-9]+)?";
    private static final Pattern TARGET = Pattern.compile(
            "unix(?:-abstract)?:.+|::1|(?:dns:(?:///)?)?" + HOST + "|ipv[46]:" + HOST + "(?:," + HOST + ")*",
            Pattern.CASE_INSENSITIVE);

    private Loopback() {}

    static boolean contains(String target) {
        return TARGET.matcher(target).matches();
    }
}
