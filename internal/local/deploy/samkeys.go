package deploy

import "strings"

// The sections and keys that SAM knows, by its own schema (schema/samcli.json of
// aws-sam-cli 1.164, July 2026). What of them waybill deploy does not read is
// accepted and without effect on it, so that one file serves both.
var (
	samCommands = strings.Fields(`global aws_only
	build delete deploy docs init list_endpoints list_resources list_stack_outputs local_callback local_execution local_generate_event
	local_invoke local_start_api local_start_lambda logs package pipeline_bootstrap pipeline_init publish remote_callback
	remote_execution remote_invoke remote_test_event sync traces validate`)

	// samDeploy are those of sam deploy. Read are confirm_changeset,
	// parameter_overrides, profile, region and stack_name.
	samDeploy = strings.Fields(`
	beta_features capabilities confirm_changeset debug disable_rollback express fail_on_empty_changeset force_upload guided
	image_repositories image_repository kms_key_id language_extensions max_wait_duration metadata no_execute_changeset no_progressbar
	notification_arns on_failure parameter_overrides profile region resolve_image_repos resolve_s3 role_arn s3_bucket s3_prefix
	save_params signing_profiles stack_name tags template_file use_json`)

	// samAny are those of all commands, which a global section may have.
	samAny = append(strings.Fields(`
	add_host app_template application_insights architecture base_dir base_image bitbucket_repo_uuid bootstrap bucket build_dir
	build_image build_in_source cache_dir cached cicd_provider cloudformation_execution_role code container_dns container_env_var
	container_env_var_file container_env_vars container_host container_host_interface create_image_repository cw_log_group debug_args
	debug_function debug_port debugger_path dependency_layer dependency_manager deployment_branch disable_authorizer docker_network
	docker_volume_basedir durable_execution_name end_time env_vars event event_file exclude extra_context fail_on_same_version filter
	force_image_build github_org github_repo gitlab_group gitlab_project hook_name host include_traces interactive invoke_image
	layer_cache_basedir lint location log_file manifest mount_symlinks mount_with name no_event no_input no_interactive
	no_memory_limit no_prompts no_watch oidc_client_id oidc_provider oidc_provider_url output output_dir output_template_file
	package_type parallel parameter permissions_provider pipeline_execution_role pipeline_user port resource resource_id runtime
	semantic_version shutdown skip_deploy_sync skip_prepare_infra skip_pull_image ssl_cert_file ssl_key_file stage start_time
	static_dir structured_logging tail tenant_id terraform_plan_file terraform_project_root_path test_event_name trace_id tracing
	use_buildkit use_container warm_containers watch watch_exclude`), samDeploy...)

	// ownBeside are those of aws_only, which SAM leaves alone.
	ownBeside = []string{"parameter_overrides", "rollback_minutes"}
)
