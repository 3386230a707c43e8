"""The names of LiteLLM's configuration, so that one that we don't support yet is told from a misspelt one.

What is supported follows from the settings registry and the typed `model_list`; these are all the names there are.
"""

from __future__ import annotations

from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SECTIONS = _names("""
    model_list litellm_settings general_settings router_settings environment_variables credential_list
    guardrails mcp_servers vector_store_registry prompts search_tools agent_list include worker_registry
    callback_settings assistant_settings finetune_settings files_settings sinks
""")
SUPPORTED_SECTIONS = frozenset(
    {
        "model_list",
        "litellm_settings",
        "general_settings",
        "router_settings",
        "environment_variables",
        "credential_list",
        "include",
        "sinks",
    }
)

GENERAL_SETTINGS = _names("""
    master_key database_url database_connection_pool_limit database_connection_timeout
    database_connection_pool_timeout database_connect_timeout database_socket_timeout
    database_max_idle_connection_lifetime database_extra_connection_params database_disable_prepared_statements
    database_type disable_prisma_schema_update proxy_batch_write_at use_redis_transaction_buffer
    disable_spend_logs disable_spend_updates disable_error_logs disable_reset_budget store_model_in_db
    supported_db_objects store_prompts_in_spend_logs spend_logs_metadata_fields
    maximum_spend_logs_retention_period maximum_spend_logs_retention_interval maximum_spend_logs_cleanup_cron
    maximum_spend_logs_cleanup_batch_size maximum_spend_logs_cleanup_max_batches
    maximum_spend_logs_cleanup_run_budget maximum_spend_logs_cleanup_batch_timeout
    maximum_daily_tag_spend_retention_period maximum_health_check_retention_period use_spend_logs_partitioning
    proxy_config_reload_interval_seconds user_api_key_cache_ttl user_api_key_cache_max_size
    allow_requests_on_db_unavailable fail_closed_budget_enforcement disable_budget_reservation
    apply_user_budget_to_team_keys coordination_redis user_header_mappings user_header_name
    reject_clientside_metadata_tags encryption_algorithm background_health_checks health_check_interval alerting
    alerting_threshold alerting_args alert_types alert_to_webhook_url pass_through_endpoints custom_auth
    enable_jwt_auth litellm_jwtauth litellm_key_header_name max_request_size_mb max_response_size_mb
    max_parallel_requests global_max_parallel_requests key_management_system key_management_settings
    always_include_stream_usage missing_session_id spend_report_frequency scheduled_job_stagger
    spend_capture_rate_check enforce_user_param completion_model infer_model_from_keys allowed_routes
    public_routes admin_only_routes ui_access_mode custom_key_generate custom_sso
    proxy_budget_rescheduler_min_time proxy_budget_rescheduler_max_time num_workers
    use_client_credentials_pass_through_routes
""")
LITELLM_SETTINGS = _names("""
    drop_params num_retries request_timeout set_verbose callbacks input_callback success_callback failure_callback
    service_callback cache cache_params fallbacks context_window_fallbacks content_policy_fallbacks
    default_fallbacks max_budget budget_duration max_end_user_budget max_end_user_budget_id
    default_internal_user_params default_team_params default_team_settings default_key_generate_params
    upperbound_key_generate_params disable_end_user_cost_tracking enable_end_user_cost_tracking_prometheus_only
    cost_discount_config cost_margin_config turn_off_message_logging redact_user_api_key_info
    enable_redis_auth_cache store_audit_logs budget_rollover cold_storage_custom_logger json_logs
    public_model_groups include_cost_in_streaming_usage allowed_fails modify_params telemetry force_ipv4
    timezone budget_reset_time block_requests_for_models_without_pricing
    cache_kwargs forward_client_headers_to_llm_api langfuse_default_tags ssl_verify ssl_certificate
    supabase_table_name dynamodb_table_name
""")
ROUTER_SETTINGS = _names("""
    routing_strategy routing_strategy_args redis_host redis_port redis_password redis_url redis_db num_retries
    max_fallbacks timeout stream_timeout retry_after retry_policy model_group_retry_policy allowed_fails
    allowed_fails_policy cooldown_time disable_cooldowns fallbacks context_window_fallbacks
    content_policy_fallbacks default_fallbacks model_group_alias enable_pre_call_checks optional_pre_call_checks
    enable_tag_filtering tag_filtering_match_any provider_budget_config default_max_parallel_requests
    caching_groups routing_groups client_ttl default_litellm_params cache_responses cache_kwargs set_verbose
    debug_level
""")
LITELLM_PARAMS = _names("""
    litellm_credential_name max_parallel_requests region_name custom_llm_provider drop_params
    additional_drop_params tpm rpm use_in_pass_through configurable_clientside_auth_params max_budget
    budget_duration max_file_size_mb default_api_key_tpm_limit default_api_key_rpm_limit vertex_project
    vertex_location vertex_credentials aws_access_key_id aws_secret_access_key aws_session_token aws_region_name
    aws_role_name aws_session_name aws_profile_name aws_web_identity_token aws_bedrock_runtime_endpoint
    azure_ad_token tenant_id client_id client_secret azure_username azure_password model_info
    merge_reasoning_content_in_choices cache_control_injection_points temperature top_p max_tokens
    max_completion_tokens stop seed reasoning_effort extra_body headers input_cost_per_character
    output_cost_per_character input_cost_per_image input_cost_per_pixel output_cost_per_pixel
    input_cost_per_query input_cost_per_token_batches output_cost_per_token_batches
    search_context_cost_per_query tiered_pricing input_cost_per_video_per_second
    output_cost_per_video_per_second cache_creation_input_audio_token_cost
    input_cost_per_audio_per_second citation_cost_per_token ocr_cost_per_page mock_timeout mock_tool_calls
""")
CACHE_PARAMS = _names("""
    type ttl default_in_memory_ttl default_in_redis_ttl supported_call_types mode max_connections socket_timeout
    redis_flush_size redis_url similarity_threshold redis_semantic_cache_embedding_model
    redis_semantic_cache_index_name health_check_interval socket_keepalive gcp_service_account gcp_ssl_ca_certs
    ssl_ca_path ssl_ca_data aws_iam_auth
""")
_NO_RESET_JOB = "has no effect: budgets need no job that resets them, a new window begins by itself"
WITHOUT_EFFECT: Mapping[str, str] = {
    "general_settings.disable_budget_reservation": (
        "has no effect: budgets hold because each call takes its estimate before it is made; that can't be turned off"
    ),
    "general_settings.disable_reset_budget": _NO_RESET_JOB,
    "general_settings.proxy_budget_rescheduler_min_time": _NO_RESET_JOB,
    "general_settings.proxy_budget_rescheduler_max_time": _NO_RESET_JOB,
    "litellm_settings.cache_params.socket_timeout": "is of the cache; set redis_socket_timeout beside it",
}
"""Settings that will not be supported, and why."""

ENVIRONMENT = _names("""
    DIRECT_URL LITELLM_SALT_KEY
    STORE_PROMPTS_IN_SPEND_LOGS REDIS_GCP_SERVICE_ACCOUNT REDIS_GCP_SSL_CA_CERTS PROXY_BATCH_WRITE_AT
    PROXY_BUDGET_RESCHEDULER_MIN_TIME PROXY_BUDGET_RESCHEDULER_MAX_TIME PROXY_CONFIG_RELOAD_INTERVAL_SECONDS
    SPEND_LOGS_URL SPEND_ROLLUP_LOCK_TIMEOUT_MS MAX_STRING_LENGTH_PROMPT_IN_DB MAX_SPENDLOG_ROWS_TO_QUERY
    LITELLM_ASYNCIO_QUEUE_MAXSIZE MAX_SIZE_IN_MEMORY_QUEUE MAX_IN_MEMORY_QUEUE_FLUSH_COUNT
    MAX_REDIS_BUFFER_DEQUEUE_COUNT DEFAULT_CRON_JOB_LOCK_TTL_SECONDS LITELLM_PGBOUNCER_ENABLED
    RESET_BUDGET_JOB_BATCH_SIZE RESET_BUDGET_JOB_MAX_CHUNKS_PER_RUN LITELLM_LOCAL_MODEL_COST_MAP
    LITELLM_MODEL_COST_MAP_URL LITELLM_STORE_AUDIT_LOGS LITELLM_CONFIG_BUCKET_NAME
    LITELLM_CONFIG_BUCKET_OBJECT_KEY LITELLM_CONFIG_BUCKET_TYPE UI_USERNAME UI_PASSWORD
    LITELLM_MIGRATE_FROM_MASTER_KEY LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY
""")

BY_SECTION: Mapping[str, frozenset[str]] = {
    "general_settings": GENERAL_SETTINGS,
    "litellm_settings": LITELLM_SETTINGS,
    "router_settings": ROUTER_SETTINGS,
}
