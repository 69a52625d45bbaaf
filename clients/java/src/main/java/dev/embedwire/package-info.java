/**
 * The client of an Embedwire server, which embeds text, images and audio.
 *
 * <p>Start with {@link dev.embedwire.EmbedwireClient}. Inputs are {@link dev.embedwire.Text},
 * {@link dev.embedwire.Image} and {@link dev.embedwire.Audio}. A failed call throws an
 * {@link dev.embedwire.EmbedwireException}. No argument and no result is null; absent values are an empty
 * {@link java.util.Optional}.
 */
package dev.embedwire;
