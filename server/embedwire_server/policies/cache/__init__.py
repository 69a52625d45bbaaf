"""Cache of results: a policy around the upstream, its key, and the stores.

key           content-addressed key of an input
policy        the policy
entry         a cached result
entry_codec   form of an entry outside of this process
store         interface of a store
memory_store  store in the memory of this process
redis_store   store that replicas share
"""
