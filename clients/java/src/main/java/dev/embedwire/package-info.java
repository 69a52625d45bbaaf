/**
 * Embeddings of text, images and audio from an Embedwire server.
 *
 * <p>Start with {@link dev.embedwire.EmbedwireClient}. Inputs are {@link dev.embedwire.Text},
 * {@link dev.embedwire.Image} and {@link dev.embedwire.Audio}; a failed call throws an
 * {@link dev.embedwire.EmbedwireException}. No argument and no result is ever null: what may be absent is an
 * {@link java.util.Optional}.
 */
package dev.embedwire;
